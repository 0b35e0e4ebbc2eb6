//! File descriptors: one for each connection, and a few for the process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use thiserror::Error;

/// What a process needs beside its connections: standard streams, the runtime's, listeners, a database, a log.
pub const SPARE: u64 = 64;

/// More connections were asked for than the system allows descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "{needed} file descriptors are needed, one for each connection and {SPARE} more, and {allowed} are allowed; raise the \
     limit (ulimit -n)"
)]
pub struct TooFew {
    pub needed: u64,
    pub allowed: u64,
}

/// Sees to it that the process may open so many connections: raises its own limit as far as the system lets it.
///
/// # Errors
/// [`TooFew`].
pub fn make_room_for(connections: u64) -> Result<(), TooFew> {
    let needed = connections.saturating_add(SPARE);
    let allowed = raised_to(needed);
    if allowed >= needed { Ok(()) } else { Err(TooFew { needed, allowed }) }
}

/// How many connections the process may open, at most `connections`, after it has raised its own limit for them.
#[must_use]
pub fn room_for_at_most(connections: u64) -> u64 {
    raised_to(connections.saturating_add(SPARE)).saturating_sub(SPARE).min(connections)
}

/// The limit, raised towards what is needed where it is lower.
fn raised_to(needed: u64) -> u64 {
    let limits = getrlimit(Resource::Nofile);
    let (soft, hard) = (limits.current.unwrap_or(u64::MAX), limits.maximum.unwrap_or(u64::MAX));
    let wanted = needed.min(hard);
    let is_raised = soft < wanted && setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limits }).is_ok();
    if is_raised { wanted } else { soft }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_some_and_not_for_all() {
        assert_eq!(make_room_for(10), Ok(()));
        assert_eq!(room_for_at_most(10), 10);
        if getrlimit(Resource::Nofile).maximum.is_some() {
            let refused = make_room_for(u64::MAX).unwrap_err();
            assert_eq!(refused.needed, u64::MAX);
            assert_eq!(room_for_at_most(u64::MAX), refused.allowed - SPARE);
            assert!(refused.to_string().contains("ulimit -n"));
        }
    }
}
