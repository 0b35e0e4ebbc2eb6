//! The front door. [`router`] is the list of all that can be asked; [`front`] is what every request passes; handlers
//! parse, ask or tell, and answer.

pub mod router;

pub mod front;

pub mod auth;

pub mod rest;

pub mod views;

pub mod told;

pub mod sent;

pub mod recordings;

pub mod taps;

pub mod telemetry;

pub mod sources;

pub mod once;

pub mod body;

pub mod csv;

pub mod asked;

pub mod problem;

pub mod events;

pub mod health;

pub mod scrape;

pub mod openapi;

pub mod pages;

pub mod assets;

use std::collections::HashSet;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRef;
use leptos::config::LeptosOptions;
use parking_lot::Mutex;
use tidemark_domain::id::CpName;
use tokio::sync::Semaphore;

use crate::http::auth::Tokens;
use crate::http::body::BodyLimits;
use crate::http::events::SUBSCRIBERS_MAX;
use crate::http::once::Keys;
use crate::metrics::Metrics;
use crate::service::Parts;

/// What handlers share. Cheap to clone.
#[derive(Clone)]
pub struct Door(Arc<Inside>);

/// The parts of the service, and what the door itself holds.
pub struct Inside {
    parts: Parts,
    /// Who may come in; `None`: everybody (loopback).
    pub tokens: Option<Tokens>,
    /// Bounds.
    pub limits: DoorLimits,
    /// The families of `/metrics`.
    pub metrics: Metrics,
    /// What Leptos must know of the bundle.
    pub options: LeptosOptions,
    /// Requests that tell us something, small and large.
    small_bodies: Arc<Semaphore>,
    large_bodies: Arc<Semaphore>,
    /// Subscribers to live events that may still come.
    subscribers: Arc<Semaphore>,
    /// Idempotency keys that are in hand now.
    keys: Keys,
    /// Undeclared control planes that were let in and are not known to the fleet yet.
    let_in: Mutex<HashSet<CpName>>,
    /// Declarations are read, merged and written one at a time.
    declaring: Arc<tokio::sync::Mutex<()>>,
    /// Facts of taps are compared with what is there and written one parcel at a time.
    tapping: Arc<tokio::sync::Mutex<()>>,
}

/// Bounds of the door.
#[derive(Clone, Copy, Debug)]
pub struct DoorLimits {
    /// Of one body.
    pub body: BodyLimits,
    /// How long a request may take, but for live events.
    pub request_time_max: Duration,
    /// Subscribers to live events at once.
    pub subscribers_max: usize,
}

impl Default for DoorLimits {
    fn default() -> Self {
        Self {
            body: BodyLimits::default(),
            request_time_max: Duration::from_secs(60),
            subscribers_max: SUBSCRIBERS_MAX,
        }
    }
}

impl Door {
    /// The door of a service.
    #[must_use]
    pub fn new(parts: Parts, tokens: Option<Tokens>, limits: DoorLimits, options: LeptosOptions) -> Self {
        let metrics = Metrics::new(
            Arc::clone(&parts.figures),
            &parts.counted,
            parts.ingest.clone(),
            parts.sources.clone(),
            parts.telemetry.clone(),
        );
        Self(Arc::new(Inside {
            parts,
            tokens,
            limits,
            metrics,
            options,
            small_bodies: Arc::new(Semaphore::new(sent::SMALL_BODIES_MAX)),
            large_bodies: Arc::new(Semaphore::new(sent::LARGE_BODIES_MAX)),
            subscribers: Arc::new(Semaphore::new(limits.subscribers_max)),
            keys: Keys::default(),
            let_in: Mutex::default(),
            declaring: Arc::default(),
            tapping: Arc::default(),
        }))
    }
}

impl Deref for Door {
    type Target = Inside;

    fn deref(&self) -> &Inside {
        &self.0
    }
}

impl Deref for Inside {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}

impl FromRef<Door> for LeptosOptions {
    fn from_ref(door: &Door) -> Self {
        door.options.clone()
    }
}
