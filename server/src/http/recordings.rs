//! For `tidemark import --to`: how far a recording was taken, and facts of recordings in parcels. Not a part of the
//! interface that is promised: facts travel in the form of this build, and whoever sends them is trusted with the
//! times that they carry.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use tidemark_domain::id::CpName;
use tidemark_domain::time::Timestamp;

use crate::http::Door;
use crate::http::asked::{Asked, Parted, part};
use crate::http::problem::Problem;
use crate::http::sent::{Names, Sent, Told};
use crate::import::remote::{ControlPlaneWord, PARCEL_MAX, Parcel};
use crate::store::Taken;

/// `GET /api/v1/recordings/{first_digest}`
pub async fn taken(
    State(door): State<Door>,
    Parted(first_digest): Parted<String>,
    asked: Asked,
) -> Result<Json<Taken>, Problem> {
    asked.end()?;
    let taken = door.recordings.taken(first_digest).await?;
    taken.map(Json).ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "nothing of this recording was taken"))
}

/// `GET /api/v1/control-planes/{cp}/word`
pub async fn word(
    State(door): State<Door>,
    Parted(cp): Parted<String>,
    asked: Asked,
) -> Result<Json<ControlPlaneWord>, Problem> {
    asked.end()?;
    let cp: CpName = part("cp", &cp)?;
    let last_word_at = door.recordings.newest_word_at(cp).await?;
    Ok(Json(ControlPlaneWord { last_word_at }))
}

/// `POST /api/v1/recordings`
pub async fn record(sent: Sent) -> Result<Response, Problem> {
    sent.tells(|door, body| async move {
        let parcel = tokio::task::spawn_blocking(move || read(&body)).await.map_err(|_| Problem::ours())??;
        let now = door.clock.now();
        let names: BTreeSet<&CpName> = parcel.facts.iter().map(|fact| &fact.control_plane).collect();
        let mut admitted = Names::new(&door);
        for name in names {
            admitted.admit(name).map_err(|reason| unfit("facts", reason))?;
        }
        let in_bounds = |at: Timestamp| Timestamp::from_ms(at.ms()) == at && at <= now;
        if let Some(fact) = parcel.facts.iter().find(|fact| !in_bounds(fact.at) || !in_bounds(fact.recorded_at)) {
            return Err(unfit("facts", format!("a fact of {} has not been yet", fact.recorded_at)));
        }
        let count = parcel.facts.len();
        let mut told = Told::new(parcel.facts, &serde_json::json!({ "accepted": count }))?;
        told.new_names = admitted.new;
        told.taken = parcel.taken;
        Ok(told)
    })
    .await
}

fn read(body: &[u8]) -> Result<Parcel, Problem> {
    let parcel: Parcel = serde_json::from_slice(body).map_err(|error| {
        let status = if error.is_data() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::BAD_REQUEST };
        Problem::new(status, format!("the body is no parcel of facts: {error}"))
    })?;
    if parcel.facts.len() > PARCEL_MAX || parcel.taken.len() > PARCEL_MAX {
        return Err(unfit("facts", format!("a parcel has at most {PARCEL_MAX} facts")));
    }
    Ok(parcel)
}

fn unfit(field: &str, reason: String) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, reason).of(field)
}
