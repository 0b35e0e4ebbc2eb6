//! Which data planes there are: listed, from a file, from a service, from names that are looked up. Where one of these
//! fails, what it said last still holds; a list that cannot be read is no reason to forget everybody.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use futures::future::join_all;
use reqwest::Url;
use serde_json::Value;

use super::admin_api::shown;
use super::asking::{PAGE_MAX, Requests, Trouble, said};
use super::settings::{Settings, TARGETS_MAX, Targets};
use super::srv::Lookup;
use crate::kong::json;

/// Finds targets, and remembers what was found.
pub(crate) struct Finder {
    targets: Targets,
    timeout: Duration,
    of_file: Vec<Url>,
    of_service: Vec<Url>,
    of_names: Vec<Url>,
    /// By the name they are behind: where one cannot be looked up, the others are no older for it.
    of_srv: Vec<Vec<Url>>,
}

impl Finder {
    pub(crate) fn new(settings: &Settings, targets: &Targets) -> Self {
        Self {
            targets: targets.clone(),
            timeout: settings.timeout,
            of_file: Vec::new(),
            of_service: Vec::new(),
            of_names: Vec::new(),
            of_srv: vec![Vec::new(); targets.dns_srv.len()],
        }
    }

    /// Every target, each once, and what went wrong on the way.
    pub(crate) async fn find(&mut self, requests: &Requests) -> (Vec<Url>, Vec<Trouble>) {
        let mut troubles = Vec::new();
        if let Some(path) = &self.targets.file_sd {
            keep(&mut self.of_file, of_file(path).await, &mut troubles);
        }
        if let Some(url) = &self.targets.http_sd {
            keep(&mut self.of_service, of_service(requests, url).await, &mut troubles);
        }
        if !self.targets.dns.is_empty() {
            keep(&mut self.of_names, of_names(&self.targets.dns).await, &mut troubles);
        }
        self.find_srv(&mut troubles).await;
        let all = [&self.targets.listed, &self.of_file, &self.of_service, &self.of_names];
        let mut known = BTreeSet::new();
        let all = all.into_iter().chain(&self.of_srv).flatten().filter(|url| known.insert(shown(url)));
        let mut all: Vec<Url> = all.cloned().collect();
        if all.len() > TARGETS_MAX {
            troubles.push(Trouble::Refused(format!("there are {} targets; only {TARGETS_MAX} are asked", all.len())));
            all.truncate(TARGETS_MAX);
        }
        (all, troubles)
    }

    /// All names at once, so that they take no longer than one. A name without records has no targets from then on.
    async fn find_srv(&mut self, troubles: &mut Vec<Trouble>) {
        if self.targets.dns_srv.is_empty() {
            return;
        }
        let bad = |why: String| Trouble::Ours(format!("dns_srv: {why}"));
        let lookup = match Lookup::new(self.targets.dns_server, self.timeout) {
            Ok(lookup) => lookup,
            Err(why) => return troubles.push(bad(why)),
        };
        let found = join_all(self.targets.dns_srv.iter().map(|name| lookup.behind(name))).await;
        for (known, found) in self.of_srv.iter_mut().zip(found) {
            let found = found.map_err(bad).map(|behind| {
                troubles.extend(behind.missing.into_iter().map(bad));
                behind.addresses.iter().filter_map(|address| format!("http://{address}").parse().ok()).collect()
            });
            keep(known, found, troubles);
        }
    }
}

fn keep(known: &mut Vec<Url>, found: Result<Vec<Url>, Trouble>, troubles: &mut Vec<Trouble>) {
    match found {
        Ok(found) => *known = found,
        Err(trouble) => troubles.push(trouble),
    }
}

async fn of_file(path: &Path) -> Result<Vec<Url>, Trouble> {
    let bad = |why: String| Trouble::Ours(format!("file_sd: {}: {why}", path.display()));
    let length = tokio::fs::metadata(path).await.map_err(|error| bad(error.to_string()))?.len();
    if length > PAGE_MAX as u64 {
        return Err(bad(format!("longer than {} MiB", PAGE_MAX >> 20)));
    }
    let text = tokio::fs::read(path).await.map_err(|error| bad(error.to_string()))?;
    groups(&text).map_err(bad)
}

/// The token is for data planes; whoever lists them does not get it.
async fn of_service(requests: &Requests, url: &Url) -> Result<Vec<Url>, Trouble> {
    let bad = |why: String| Trouble::Refused(format!("http_sd: {}: {why}", shown(url)));
    let answer = requests.without_token().get(url, PAGE_MAX).await.map_err(|trouble| match trouble {
        Trouble::Ours(why) => Trouble::Ours(format!("http_sd: {} {why}", shown(url))),
        Trouble::Silent(why) | Trouble::Refused(why) => bad(why),
    })?;
    if answer.status != 200 {
        return Err(bad(said(answer.status, None)));
    }
    groups(&answer.body).map_err(bad)
}

async fn of_names(names: &[Url]) -> Result<Vec<Url>, Trouble> {
    let mut found = Vec::new();
    for name in names {
        let (host, port) = (name.host_str().unwrap_or_default(), name.port_or_known_default().unwrap_or(80));
        let bad = |why: String| Trouble::Ours(format!("dns: {host} cannot be looked up: {why}"));
        let addresses = tokio::net::lookup_host((host, port)).await.map_err(|error| bad(error.to_string()))?;
        for address in addresses {
            let mut url = name.clone();
            if url.set_ip_host(address.ip()).is_ok() {
                found.push(url);
            }
        }
    }
    Ok(found)
}

/// The addresses in `[{"targets": ["10.0.0.7:8007"], "labels": {"__scheme__": "https"}}]`, the form of Prometheus.
fn groups(text: &[u8]) -> Result<Vec<Url>, String> {
    const EXPECTED: &str = "expected [{\"targets\": [\"HOST:PORT\"], \"labels\": {}}]";
    let body = json::parse(text)?;
    let mut urls = Vec::new();
    for group in body.as_array().ok_or(EXPECTED)? {
        let scheme = group.pointer("/labels/__scheme__").and_then(Value::as_str).unwrap_or("http");
        if !matches!(scheme, "http" | "https") {
            return Err(format!("the label __scheme__ is http or https, not {scheme:?}"));
        }
        for target in group.get("targets").and_then(Value::as_array).ok_or(EXPECTED)? {
            let target = target.as_str().ok_or(EXPECTED)?;
            let url = Url::parse(&format!("{scheme}://{target}")).ok();
            let url = url.filter(|url| url.username().is_empty() && url.password().is_none() && url.path() == "/");
            urls.push(url.ok_or_else(|| format!("{target:?} is not HOST:PORT"))?);
        }
    }
    if urls.len() > TARGETS_MAX {
        return Err(format!("more than {TARGETS_MAX} targets"));
    }
    Ok(urls)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_list_is_too_strange(text in r#"[\[\]{}",:a-z0-9_ \\-]{0,80}"#, bytes: Vec<u8>) {
            _ = groups(text.as_bytes());
            _ = groups(&bytes);
        }
    }

    #[track_caller]
    fn check(text: &str, expected: Result<&[&str], &str>) {
        let found = groups(text.as_bytes()).map(|urls| urls.iter().map(shown).collect::<Vec<_>>());
        match expected {
            Ok(urls) => {
                assert_eq!(found.as_deref(), Ok(&urls.iter().map(|url| (*url).to_owned()).collect::<Vec<_>>()[..]))
            }
            Err(part) => assert!(found.as_ref().is_err_and(|why| why.contains(part)), "{text}: {found:?}"),
        }
    }

    #[test]
    fn targets_are_read_as_prometheus_writes_them() {
        check("[]", Ok(&[]));
        check(
            r#"[{"targets": ["10.0.0.7:8007", "dp:80"]}, {"targets": ["[::1]:8007"], "labels": {"__scheme__": "https"}}]"#,
            Ok(&["http://10.0.0.7:8007", "http://dp", "https://[::1]:8007"]),
        );
        check("{}", Err("expected [{"));
        check("[1]", Err("expected [{"));
        check(r#"[{"targets": [7]}]"#, Err("expected [{"));
        check(r#"[{"targets": ["a:b@10.0.0.7:8007"]}]"#, Err("is not HOST:PORT"));
        check(r#"[{"targets": ["10.0.0.7:8007/x"]}]"#, Err("is not HOST:PORT"));
        check(r#"[{"targets": ["x"], "labels": {"__scheme__": "file"}}]"#, Err("http or https"));
        check("[", Err("EOF"));
        let list = |count: usize| format!("[{{\"targets\": [{}]}}]", vec!["\"a\""; count].join(","));
        assert_eq!(groups(list(TARGETS_MAX).as_bytes()).map(|urls| urls.len()), Ok(TARGETS_MAX));
        check(&list(TARGETS_MAX + 1), Err("more than 10000"));
    }
}
