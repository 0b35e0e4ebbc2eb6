//! All that a page may ask of the server: one trait, and the server functions over it.
//!
//! The trait is answered by the server's reader; REST handlers answer from the same one. Read the functions as an
//! attacker would: they are a public API, every argument is parsed at the door, and nothing here changes a thing.

use crate::status;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use leptos::prelude::*;
use leptos::server_fn::codec::{GetUrl, Post};
use leptos::server_fn::error::{FromServerFnError, ServerFnErrorErr};
use leptos::server_fn::{ContentType, Decodes, Encodes, Format, FormatType};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use tidemark_domain::analytics::{Last, NodeTraffic, ResourcesView, TrafficQuestion, TrafficView, UsageView};
use tidemark_domain::id::{CpName, NodeId, Ordinal};
use tidemark_domain::time::Timestamp;
use tidemark_domain::view::{
    ControlPlaneView, FleetView, HistoryView, Moment, NodeView, NodesView, VersionView, VersionsView,
};

/// An answer on its way.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, ApiError>> + Send + 'a>>;

/// How a list is asked for: which part of it, and how much.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paging {
    /// The key that the page before ended with.
    pub after: Option<String>,
    /// Rows; 1 to 500, default 50.
    pub size: Option<u32>,
}

/// What may be asked of the fleet. Every answer says which moment it describes.
pub trait FleetApi: Send + Sync {
    /// The whole fleet.
    fn fleet(&self, moment: Moment) -> Answer<'_, FleetView>;
    /// Nodes that answer a question (`tidemark_domain::query`).
    fn nodes(&self, question: String, paging: Paging, moment: Moment) -> Answer<'_, NodesView>;
    /// One node.
    fn node(&self, control_plane: CpName, id: NodeId, moment: Moment) -> Answer<'_, NodeView>;
    /// The past of one node, newest first.
    fn history(&self, control_plane: CpName, id: NodeId, paging: Paging, moment: Moment) -> Answer<'_, HistoryView>;
    /// Every control plane, by name.
    fn control_planes(&self, moment: Moment) -> Answer<'_, Vec<ControlPlaneView>>;
    /// The ledger of one control plane, newest first.
    fn versions(&self, control_plane: CpName, paging: Paging, moment: Moment) -> Answer<'_, VersionsView>;
    /// One version.
    fn version(&self, control_plane: CpName, ordinal: Ordinal, moment: Moment) -> Answer<'_, VersionView>;
    /// Traffic of a range that ends at the moment, where the question does not say another.
    fn traffic(&self, question: TrafficQuestion, moment: Moment) -> Answer<'_, TrafficView>;
    /// What one node does and uses, of the day before the moment; `None` where nothing was told.
    fn node_traffic(&self, control_plane: CpName, id: NodeId, moment: Moment) -> Answer<'_, Option<NodeTraffic>>;
    /// Usage by month.
    fn usage(&self, moment: Moment) -> Answer<'_, UsageView>;
    /// What one node uses over a range.
    fn resources(&self, control_plane: CpName, id: NodeId, last: Last, moment: Moment) -> Answer<'_, ResourcesView>;
}

/// What the server puts into the context of every page.
pub type Fleet = Arc<dyn FleetApi>;

/// Why a question has no answer, by what the asker can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApiError {
    /// The question is wrong; the words name the part and what was expected.
    BadRequest(String),
    /// There is no such thing; the words name it.
    NotFound(String),
    /// Try again later.
    Unavailable(String),
    /// We are broken; the words carry the id under which the log says more.
    Internal(String),
}

impl ApiError {
    /// The HTTP status of this answer.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::BadRequest(_) => 400,
            Self::NotFound(_) => 404,
            Self::Unavailable(_) => 503,
            Self::Internal(_) => 500,
        }
    }

    /// Reads `404 the reason`. What is not of this form did not come from us: somebody between us and the server said
    /// it, and it will pass.
    fn told(text: &str) -> Self {
        match text.split_once(' ') {
            Some(("400", why)) => Self::BadRequest(why.into()),
            Some(("404", why)) => Self::NotFound(why.into()),
            Some(("500", why)) => Self::Internal(why.into()),
            Some(("503", why)) => Self::Unavailable(why.into()),
            _ => Self::Unavailable(NO_ANSWER.into()),
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadRequest(why) | Self::NotFound(why) | Self::Unavailable(why) | Self::Internal(why) => {
                out.write_str(why)
            }
        }
    }
}

impl std::error::Error for ApiError {}

const NO_ANSWER: &str = "the server did not answer";

impl FromServerFnError for ApiError {
    type Encoder = Wire;

    /// What went wrong around a question rather than in its answer: on the way, or in reading the arguments.
    fn from_server_fn_error(error: ServerFnErrorErr) -> Self {
        let error = match error {
            ServerFnErrorErr::Args(why) | ServerFnErrorErr::MissingArg(why) => {
                Self::BadRequest(format!("the arguments could not be read: {why}"))
            }
            ServerFnErrorErr::Request(_) | ServerFnErrorErr::Response(_) | ServerFnErrorErr::Deserialization(_) => {
                Self::Unavailable(NO_ANSWER.into())
            }
            ServerFnErrorErr::Registration(_)
            | ServerFnErrorErr::UnsupportedRequestMethod(_)
            | ServerFnErrorErr::ServerError(_)
            | ServerFnErrorErr::MiddlewareError(_)
            | ServerFnErrorErr::Serialization(_) => Self::Internal("the answer could not be made".into()),
        };
        status::set(error.status());
        error
    }
}

/// How reports come in: what the server puts into the context of every page.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WayIn {
    /// Where whoever asks has reached the server, `http://127.0.0.1:3000`.
    pub address: String,
    /// A sender needs a token.
    pub needs_token: bool,
}

/// The whole fleet, and how one comes to be where there is none yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overview {
    /// The fleet.
    pub fleet: FleetView,
    /// The way in.
    pub way_in: WayIn,
}

/// The whole fleet, for the overview.
#[server(name = AskOverview, prefix = "/pages", endpoint = "overview", input = GetUrl, output = Post<Wire>)]
pub async fn overview(at: String, known: String) -> Result<Told<Overview>, ApiError> {
    answer(async {
        let way_in = use_context::<WayIn>().unwrap_or_default();
        Ok(Overview { fleet: asked()?.fleet(moment(&at, &known)?).await?, way_in })
    })
    .await
}

/// The whole fleet, for the choice of a ledger.
#[server(name = AskFleet, prefix = "/pages", endpoint = "fleet", input = GetUrl, output = Post<Wire>)]
pub async fn fleet(at: String, known: String) -> Result<Told<FleetView>, ApiError> {
    answer(async { asked()?.fleet(moment(&at, &known)?).await }).await
}

/// A page of the nodes that answer a question.
#[server(name = AskNodes, prefix = "/pages", endpoint = "nodes", input = GetUrl, output = Post<Wire>)]
pub async fn nodes(q: String, after: String, at: String, known: String) -> Result<Told<NodesView>, ApiError> {
    answer(async { asked()?.nodes(q, paging(after), moment(&at, &known)?).await }).await
}

/// One node and its past.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodePage {
    /// What it does and uses; `None` where nothing was told.
    pub traffic: Option<NodeTraffic>,
    /// The node.
    pub node: NodeView,
    /// A page of its past.
    pub history: HistoryView,
}

/// One node and a page of its past.
#[server(name = AskNode, prefix = "/pages", endpoint = "node", input = GetUrl, output = Post<Wire>)]
pub async fn node(
    cp: String,
    id: String,
    after: String,
    at: String,
    known: String,
) -> Result<Told<NodePage>, ApiError> {
    answer(async {
        let (fleet, cp, id, moment) = (asked()?, name::<CpName>(&cp)?, name::<NodeId>(&id)?, moment(&at, &known)?);
        let node = fleet.node(cp.clone(), id.clone(), moment).await?;
        let traffic = fleet.node_traffic(cp.clone(), id.clone(), moment).await?;
        Ok(NodePage { node, traffic, history: fleet.history(cp, id, paging(after), moment).await? })
    })
    .await
}

/// A page of the ledger of one control plane.
#[server(name = AskVersions, prefix = "/pages", endpoint = "versions", input = GetUrl, output = Post<Wire>)]
pub async fn versions(cp: String, after: String, at: String, known: String) -> Result<Told<VersionsView>, ApiError> {
    answer(async { asked()?.versions(name(&cp)?, paging(after), moment(&at, &known)?).await }).await
}

/// One version.
#[server(name = AskVersion, prefix = "/pages", endpoint = "version", input = GetUrl, output = Post<Wire>)]
pub async fn version(cp: String, n: String, at: String, known: String) -> Result<Told<VersionView>, ApiError> {
    answer(async { asked()?.version(name(&cp)?, name(&n)?, moment(&at, &known)?).await }).await
}

/// Traffic; the question is the query of the page's URL.
#[server(name = AskTraffic, prefix = "/pages", endpoint = "traffic", input = GetUrl, output = Post<Wire>)]
pub async fn traffic(q: String, at: String, known: String) -> Result<Told<TrafficView>, ApiError> {
    answer(async {
        let pairs = TrafficQuestion::pairs(&q);
        let question = TrafficQuestion::read(&pairs);
        let question = question.map_err(|wrong| ApiError::BadRequest(format!("{}: {}", wrong.name, wrong.reason)))?;
        asked()?.traffic(question, moment(&at, &known)?).await
    })
    .await
}

/// Usage by month.
#[server(name = AskUsage, prefix = "/pages", endpoint = "usage", input = GetUrl, output = Post<Wire>)]
pub async fn usage(at: String, known: String) -> Result<Told<UsageView>, ApiError> {
    answer(async { asked()?.usage(moment(&at, &known)?).await }).await
}

/// The answer, packed, and the status of the response if there is none.
pub async fn answer<T: Serialize>(ask: impl Future<Output = Result<T, ApiError>>) -> Result<Told<T>, ApiError> {
    ask.await.and_then(|answer| Told::pack(&answer)).inspect_err(|error| status::set(error.status()))
}

/// An answer on its way to a page.
#[derive(Debug)]
pub struct Told<T> {
    packed: Packed,
    of: PhantomData<fn() -> T>,
}

impl<T: Serialize> Told<T> {
    /// Packs an answer.
    pub fn pack(answer: &T) -> Result<Self, ApiError> {
        let bytes =
            postcard::to_allocvec(answer).map_err(|_| ApiError::Internal("the answer could not be packed".into()))?;
        Ok(Self { packed: Packed(STANDARD_NO_PAD.encode(bytes)), of: PhantomData })
    }
}

impl<T> Told<T> {
    /// The answer as it travels.
    #[must_use]
    pub fn packed(self) -> Packed {
        self.packed
    }
}

/// An answer as it travels: over the wire, and inside the document.
///
/// It is postcard in base64, not JSON: what reads JSON into all the types of the views was a quarter of the bundle, and
/// for a public API there is REST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed(String);

impl Packed {
    /// Reads the answer. It fails only where the page is older than the server.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        let bytes = STANDARD_NO_PAD.decode(&self.0).ok();
        let answer = bytes.and_then(|bytes| postcard::from_bytes(&bytes).ok());
        answer.ok_or_else(|| ApiError::Internal("this page is older than the server; load it again".into()))
    }
}

/// An answer or the lack of one, as a page keeps it: `=` and the packed answer, or the status and the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply(pub Result<Packed, ApiError>);

impl fmt::Display for Reply {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Ok(Packed(answer)) => write!(out, "={answer}"),
            Err(error) => write!(out, "{} {error}", error.status()),
        }
    }
}

impl FromStr for Reply {
    type Err = ApiError;

    fn from_str(text: &str) -> Result<Self, ApiError> {
        Ok(Self(match text.strip_prefix('=') {
            Some(answer) => Ok(Packed(answer.into())),
            None => Err(ApiError::told(text)),
        }))
    }
}

/// The form of what server functions say: plain text.
pub struct Wire;

impl ContentType for Wire {
    const CONTENT_TYPE: &'static str = "text/plain; charset=utf-8";
}

impl FormatType for Wire {
    const FORMAT_TYPE: Format = Format::Text;
}

impl<T> Encodes<Told<T>> for Wire {
    type Error = ApiError;

    fn encode(answer: &Told<T>) -> Result<Bytes, ApiError> {
        Ok(Bytes::copy_from_slice(answer.packed.0.as_bytes()))
    }
}

impl<T> Decodes<Told<T>> for Wire {
    type Error = ApiError;

    fn decode(answer: Bytes) -> Result<Told<T>, ApiError> {
        Ok(Told { packed: Packed(String::from_utf8_lossy(&answer).into_owned()), of: PhantomData })
    }
}

impl Encodes<ApiError> for Wire {
    type Error = ApiError;

    fn encode(error: &ApiError) -> Result<Bytes, ApiError> {
        Ok(Bytes::from(format!("{} {error}", error.status())))
    }
}

impl Decodes<ApiError> for Wire {
    type Error = ApiError;

    fn decode(error: Bytes) -> Result<ApiError, ApiError> {
        Ok(ApiError::told(&String::from_utf8_lossy(&error)))
    }
}

/// Who answers: what the server put into the context.
pub fn asked() -> Result<Fleet, ApiError> {
    use_context::<Fleet>().ok_or_else(|| ApiError::Internal("nobody was set to answer".into()))
}

/// A name from a URL.
pub fn name<T: FromStr<Err: fmt::Display>>(text: &str) -> Result<T, ApiError> {
    text.parse().map_err(|why| ApiError::BadRequest(format!("{text:?} is not a name that is used here: {why}")))
}

/// The moment of `?at=…&known=now`; nothing said is now.
pub fn moment(at: &str, known: &str) -> Result<Moment, ApiError> {
    let at = match at {
        "" => None,
        at => Some(Timestamp::parse(at).ok_or_else(|| {
            ApiError::BadRequest(format!("at={at} is not a moment; expected RFC 3339, as in 2026-11-20T08:53:57Z"))
        })?),
    };
    match known {
        "" => Ok(Moment { at, known_now: false }),
        "now" => Ok(Moment { at, known_now: true }),
        other => Err(ApiError::BadRequest(format!("known={other} is not understood; expected known=now"))),
    }
}

/// The part of a list that starts after a key; nothing said is its beginning.
#[must_use]
pub fn paging(after: String) -> Paging {
    Paging { after: (!after.is_empty()).then_some(after), size: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_read_at_the_door() {
        #[track_caller]
        fn check(at: &str, known: &str, expected: Option<(Option<i64>, bool)>) {
            let read = moment(at, known).ok().map(|moment| (moment.at.map(Timestamp::ms), moment.known_now));
            assert_eq!(read, expected, "at={at} known={known}");
        }
        check("", "", Some((None, false)));
        check("1970-01-01T00:00:01Z", "", Some((Some(1_000), false)));
        check("1970-01-01T00:00:01Z", "now", Some((Some(1_000), true)));
        check("yesterday", "", None);
        check("", "then", None);
    }

    #[test]
    fn a_reply_is_read_back() {
        let replies = [
            Ok(Packed("AAEC+/".into())),
            Err(ApiError::BadRequest("no".into())),
            Err(ApiError::NotFound("= is not here".into())),
            Err(ApiError::Unavailable("later".into())),
            Err(ApiError::Internal("request 7c1f04".into())),
        ];
        for reply in replies.map(Reply) {
            assert_eq!(reply.to_string().parse(), Ok(reply));
        }
        assert_eq!(ApiError::told("<html>Bad Gateway").status(), 503);
    }

    #[test]
    fn a_bad_name_is_the_askers_fault_and_says_what_was_expected() {
        let error = name::<CpName>("Not A Name").expect_err("capitals are refused");
        assert_eq!(error.status(), 400);
        assert!(error.to_string().contains("a control plane's name is"), "{error}");
    }
}
