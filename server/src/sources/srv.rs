//! Who is behind a name by its SRV records (RFC 2782): hosts with ports, looked up at the nameservers of the machine or
//! at one that is set. Priorities and weights say whom a client should choose; here every record is somebody to ask.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures::{StreamExt, stream};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::lookup::Lookup as Answer;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RData, Record};
use tokio::time::timeout;

/// Hosts of one name that are looked up at once: of 64 names, 512.
const AT_ONCE: usize = 8;
/// A question whose answer was lost is asked twice more, all within the bound of a lookup.
const ASKED_AGAIN: u32 = 2;

/// What a lookup found.
#[derive(Default)]
pub(super) struct Behind {
    /// Each once.
    pub(super) addresses: BTreeSet<SocketAddr>,
    /// Who was named and has no address, or that nobody was named.
    pub(super) missing: Vec<String>,
}

/// Looks names up.
pub(super) struct Lookup {
    resolver: TokioResolver,
    longest: Duration,
}

impl Lookup {
    /// A lookup that takes as long as this at most. The settings of the machine are read here, and what was answered is
    /// remembered for as long as this lives, so each run has its own.
    pub(super) fn new(server: Option<SocketAddr>, longest: Duration) -> Result<Self, String> {
        let cannot = |error: NetError| format!("the nameservers of this machine are not known: {error}");
        let mut builder = match server {
            Some(server) => {
                let config = ResolverConfig::from_name_servers(vec![at(server)]);
                TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            }
            None => TokioResolver::builder_tokio().map_err(cannot)?,
        };
        let options: &mut ResolverOpts = builder.options_mut();
        options.timeout = options.timeout.min(longest / (ASKED_AGAIN + 1));
        Ok(Self { resolver: builder.build().map_err(cannot)?, longest })
    }

    /// Who is behind a name. That nobody is, is an answer; an error is that there was none.
    pub(super) async fn behind(&self, name: &str) -> Result<Behind, String> {
        let cannot = |why: &str| format!("{name} cannot be looked up: {why}");
        match timeout(self.longest, self.look_up(name)).await {
            Ok(Ok(behind)) => Ok(behind),
            Ok(Err(error)) => Err(cannot(&error.to_string())),
            Err(_) => Err(cannot(&format!("no answer within {} s", self.longest.as_secs()))),
        }
    }

    async fn look_up(&self, name: &str) -> Result<Behind, NetError> {
        let mut behind = Behind::default();
        let hosts = self.hosts(name).await?;
        if hosts.is_empty() {
            behind.missing.push(format!("{name} has no SRV records"));
        }
        let mut found = stream::iter(hosts)
            .map(|(host, port)| async move { (self.addresses(&host).await, host, port) })
            .buffer_unordered(AT_ONCE);
        while let Some((addresses, host, port)) = found.next().await {
            let addresses = addresses?;
            if addresses.is_empty() {
                // A node that went away between the two questions is no reason to leave the others out.
                behind.missing.push(format!("{host} of {name} has no address"));
            }
            behind.addresses.extend(addresses.into_iter().map(|address| SocketAddr::new(address, port)));
        }
        Ok(behind)
    }

    /// The name is taken as a whole one. Where search domains are tried after it, the last of them says that there are no
    /// records, whatever went wrong before; targets would be forgotten for that.
    async fn hosts(&self, name: &str) -> Result<BTreeSet<(Name, u16)>, NetError> {
        let mut name = Name::from_ascii(name)?;
        name.set_fqdn(true);
        let host = |data: &RData| match data {
            // The root as the host says that there is none.
            RData::SRV(record) if !record.target.is_root() => Some((record.target.clone(), record.port)),
            _ => None,
        };
        Ok(records(self.resolver.srv_lookup(name).await)?.iter().filter_map(|record| host(&record.data)).collect())
    }

    /// Those of IPv4, or of IPv6 where there are none: a host of both kinds is one node, and is asked once.
    async fn addresses(&self, host: &Name) -> Result<Vec<IpAddr>, NetError> {
        let addresses = |found| -> Result<Vec<IpAddr>, NetError> {
            Ok(records(found)?.iter().filter_map(|record| record.data.ip_addr()).collect())
        };
        let found = addresses(self.resolver.ipv4_lookup(host.clone()).await)?;
        if found.is_empty() { addresses(self.resolver.ipv6_lookup(host.clone()).await) } else { Ok(found) }
    }
}

/// That there are none is an answer too.
fn records(answer: Result<Answer, NetError>) -> Result<Vec<Record>, NetError> {
    match answer {
        Ok(answer) => Ok(answer.answers().to_vec()),
        Err(error) if error.is_no_records_found() => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn at(server: SocketAddr) -> NameServerConfig {
    let mut config = NameServerConfig::udp_and_tcp(server.ip());
    for connection in &mut config.connections {
        connection.port = server.port();
    }
    config
}
