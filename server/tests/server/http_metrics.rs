//! `/metrics` as those read it who are not ours: promtool, and a Prometheus that scrapes both formats.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::Plan;
use axum::http::Request;
use tidemark_domain::notice::Severity;
use tidemark_domain::verdict::{ConfigWord, ConnectionWord};
use tidemark_server::http::DoorLimits;
use tidemark_server::service;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// Where a program of Debian's package `prometheus` is; says in one line that its test is left out.
fn program(name: &str) -> Option<String> {
    let path = format!("/usr/bin/{name}");
    if Path::new(&path).exists() {
        return Some(path);
    }
    eprintln!("left out: {name} is not installed (Debian's package prometheus)");
    None
}

#[tokio::test]
async fn all_values_of_labels_are_there_from_the_first_scrape() {
    let house = Plan::default().build();
    let text = house.get("/metrics").await.body;
    for config in ConfigWord::ALL {
        for connection in ConnectionWord::ALL {
            let (config, connection) = (config.word(), connection.word());
            let labels = format!("control_plane=\"prod\",config_state=\"{config}\",connection_state=\"{connection}\"");
            let is_there = text.contains(&format!("tidemark_nodes{{{labels}}} "));
            assert_eq!(is_there, connection != "gone", "{labels}");
        }
    }
    for severity in Severity::ALL {
        let labels = format!("control_plane=\"prod\",kind=\"reverted\",severity=\"{}\"", severity.word());
        assert!(text.contains(&format!("tidemark_notices{{{labels}}} 0\n")), "{labels}");
    }
    for result in ["stored", "refused", "turned_away"] {
        assert!(text.contains(&format!("tidemark_ingest_reports_total{{result=\"{result}\"}} 0\n")), "{result}");
    }
    for route in ["/api/v1/heartbeats", "/api/v1/nodes/{cp}/{id}", "/metrics", "/", "other"] {
        for status in ["2xx", "4xx", "5xx"] {
            let labels = format!("route=\"{route}\",status=\"{status}\"");
            assert!(text.contains(&format!("tidemark_http_requests_total{{{labels}}} 0\n")), "{labels}");
        }
    }
    assert!(text.contains("tidemark_build_info{version=\""));
    assert!(!text.contains("n1"), "no series per node");
}

#[tokio::test]
async fn the_nodes_add_up_to_the_fleet_without_gone() {
    let text = Plan::default().build().get("/metrics").await.body;
    let values = text.lines().filter(|line| line.starts_with("tidemark_nodes{"));
    let sum: u32 = values.map(|line| line.rsplit(' ').next().expect("a value").parse::<u32>().expect("a count")).sum();
    assert_eq!(sum, 2);
}

#[tokio::test]
async fn requests_are_counted_by_the_template_of_their_route() {
    let house = Plan::default().build();
    for path in ["/api/v1/nodes/prod/n1", "/api/v1/nodes/prod/n2", "/api/v1/nodes/prod/nobody", "/no/such/path"] {
        house.get(path).await;
    }
    let text = house.get("/metrics").await.body;
    assert!(text.contains("tidemark_http_requests_total{route=\"/api/v1/nodes/{cp}/{id}\",status=\"2xx\"} 2\n"));
    assert!(text.contains("tidemark_http_requests_total{route=\"/api/v1/nodes/{cp}/{id}\",status=\"4xx\"} 1\n"));
    assert!(text.contains("tidemark_http_requests_total{route=\"other\",status=\"4xx\"} 1\n"), "{text}");
}

#[tokio::test]
async fn the_format_follows_accept() {
    let house = Plan::default().build();
    for (accept, expected) in [
        ("application/openmetrics-text; version=1.0.0", "application/openmetrics-text"),
        ("text/plain", "text/plain; version=0.0.4"),
        ("*/*", "text/plain; version=0.0.4"),
    ] {
        let request = Request::get("/metrics").header("accept", accept);
        let said = house.send(request.body(axum::body::Body::empty()).expect("a request")).await;
        assert!(said.header("content-type").starts_with(expected), "{accept}");
        assert!(said.header("vary").contains("accept"), "{accept}");
    }
}

#[tokio::test]
async fn promtool_finds_nothing_to_say() {
    let Some(promtool) = program("promtool") else { return };
    let text = Plan::default().build().get("/metrics").await.body;
    let mut check = Command::new(promtool);
    check.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut check = check.spawn().expect("promtool runs");
    check.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("promtool reads");
    let said = check.wait_with_output().expect("promtool ends");
    let words = [said.stdout, said.stderr].concat();
    assert!(said.status.success() && words.is_empty(), "{}", String::from_utf8_lossy(&words));
}

/// A Prometheus that is killed with its test.
struct Prometheus(Child);

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_scrapes_both_formats_and_reads_the_same() {
    let Some(prometheus) = program("prometheus") else { return };
    let (parts, _, _revise) = Plan::default().parts();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (close, closed) = oneshot::channel::<()>();
    let serving = tokio::spawn(service::serve(parts, listener, None, DoorLimits::default(), async {
        let _ = closed.await;
    }));

    let folder = tempfile::tempdir().expect("a folder");
    let config = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n\
         scrape_configs:\n\
         - {{job_name: openmetrics, static_configs: [{{targets: ['{address}']}}]}}\n\
         - {{job_name: text, params: {{format: [text]}}, static_configs: [{{targets: ['{address}']}}]}}\n"
    );
    std::fs::write(folder.path().join("prometheus.yml"), config).expect("a file");
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let child = Command::new(prometheus)
        .arg(format!("--config.file={}", folder.path().join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .args(["--log.level=error"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("Prometheus runs");
    let _prometheus = Prometheus(child);

    let ask = async |question: &str| -> Vec<(String, String)> {
        let url = format!("http://127.0.0.1:{port}/api/v1/query");
        let client = reqwest::Client::new();
        let Ok(answer) = client.get(url).query(&[("query", question)]).send().await else { return Vec::new() };
        let Ok(answer) = answer.json::<serde_json::Value>().await else { return Vec::new() };
        let series = answer["data"]["result"].as_array().cloned().unwrap_or_default();
        let of = |one: &serde_json::Value| {
            let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
            (text(&one["metric"]["job"]), text(&one["value"][1]))
        };
        let mut series: Vec<_> = series.iter().map(of).collect();
        series.sort();
        series
    };
    let of_both =
        |value: &str| vec![("openmetrics".to_owned(), value.to_owned()), ("text".to_owned(), value.to_owned())];
    let deadline = Instant::now() + Duration::from_secs(60);
    for (question, value) in [
        ("up", "1"),
        ("tidemark_nodes{config_state=\"behind\",connection_state=\"connected\"}", "1"),
        ("count by (job) (tidemark_nodes)", "50"),
        ("tidemark_propagation_seconds_bucket{le=\"2.5\"}", "1"),
        ("tidemark_propagation_seconds_count", "1"),
        ("tidemark_ingest_reports_total{result=\"refused\"}", "0"),
        ("count by (job) (tidemark_build_info)", "1"),
    ] {
        let mut answer = ask(question).await;
        while answer != of_both(value) {
            assert!(Instant::now() < deadline, "{question}: {answer:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
            answer = ask(question).await;
        }
    }
    let _ = close.send(());
    serving.await.expect("no panic").expect("it served");
}
