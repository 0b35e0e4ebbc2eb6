//! Data planes that are found by SRV records, at a nameserver on 127.0.0.1 that answers as it is told to.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::future::join_all;
use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tidemark_server::sources::check::check;
use tidemark_server::sources::settings::{Kind, Settings, Targets};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use crate::sources::{HASH, Plane, Server, Stand, clock, settings};

const STATUS: &str = "_status._tcp.kong.test";
const OTHERS: &str = "_status._tcp.others.test";

/// What a nameserver says.
#[derive(Clone)]
enum Mood {
    /// These records, and that there are no others.
    Knows(Vec<Record>),
    /// These records, and that it has a fault where it is asked for addresses of IPv4.
    Forgot(Vec<Record>),
    /// That it has a fault.
    Fault,
    /// The beginning of an answer, longer each time; what follows is nonsense.
    Garbage(usize),
    /// Nothing.
    Silent,
}

struct Nameserver {
    address: SocketAddr,
    mood: Arc<Mutex<Mood>>,
    task: JoinHandle<()>,
}

impl Nameserver {
    async fn start(mood: Mood) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let mood = Arc::new(Mutex::new(mood));
        let told = Arc::clone(&mood);
        let task = tokio::spawn(async move {
            let mut question = [0; 512];
            loop {
                let (length, who) = socket.recv_from(&mut question).await.unwrap();
                let answer = said(&Message::from_vec(&question[..length]).unwrap(), &mut told.lock().unwrap());
                if let Some(answer) = answer {
                    socket.send_to(&answer, who).await.unwrap();
                }
            }
        });
        Self { address, mood, task }
    }

    fn be(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }
}

impl Drop for Nameserver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn said(question: &Message, mood: &mut Mood) -> Option<Vec<u8>> {
    let query = question.queries[0].clone();
    let mut answer = Message::response(question.metadata.id, OpCode::Query);
    answer.add_query(query.clone());
    match mood {
        Mood::Forgot(_) if query.query_type() == RecordType::A => {
            answer.metadata.response_code = ResponseCode::ServFail;
        }
        Mood::Knows(records) | Mood::Forgot(records) => {
            let of_name = |record: &&Record| record.name == *query.name();
            if !records.iter().any(|record| of_name(&record)) {
                answer.metadata.response_code = ResponseCode::NXDomain;
            }
            let fits = |record: &&Record| of_name(record) && record.record_type() == query.query_type();
            answer.add_answers(records.iter().filter(fits).cloned());
        }
        Mood::Fault => answer.metadata.response_code = ResponseCode::ServFail,
        Mood::Garbage(length) => {
            answer.add_answer(record(STATUS, srv(8007, "n1.kong.test")));
            let mut bytes = answer.to_vec().unwrap();
            *length = (*length + 1) % bytes.len();
            bytes[*length..].iter_mut().for_each(|byte| *byte ^= 0xa5);
            return Some(bytes);
        }
        Mood::Silent => return None,
    }
    Some(answer.to_vec().unwrap())
}

fn name(text: &str) -> Name {
    let mut name: Name = text.parse().unwrap();
    name.set_fqdn(true);
    name
}

fn record(of: &str, data: RData) -> Record {
    Record::from_rdata(name(of), 5, data)
}

fn srv(port: u16, host: &str) -> RData {
    RData::SRV(SRV::new(10, 0, port, name(host)))
}

fn here(host: &str) -> Record {
    record(host, RData::A(Ipv4Addr::LOCALHOST.into()))
}

fn source(names: &[&str], nameserver: &Nameserver) -> Settings {
    let targets = Targets {
        dns_srv: names.iter().map(|name| (*name).to_owned()).collect(),
        dns_server: Some(nameserver.address),
        ..Targets::default()
    };
    settings("eu-nodes", Kind::Status(targets))
}

async fn plane(node: &str) -> Stand {
    Stand::start(Plane::new(node, HASH, true).router()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn srv_records_become_targets_with_their_ports() {
    let (a, b, c) = (plane("a").await, plane("b").await, plane("c").await);
    let known = vec![
        record(STATUS, srv(a.address.port(), "n1.kong.test")),
        record(STATUS, srv(b.address.port(), "n2.kong.test")),
        // Named by both names, and asked once.
        record(OTHERS, srv(b.address.port(), "n1.kong.test")),
        record(OTHERS, srv(c.address.port(), "n1.kong.test")),
        here("n1.kong.test"),
        here("n2.kong.test"),
    ];
    let nameserver = Nameserver::start(Mood::Knows(known.clone())).await;
    let server = Server::start(vec![source(&[STATUS, OTHERS], &nameserver)], clock()).await;
    server.until("state:current source:status", 3).await;
    let source = server.source_until("state", |state| state == "up").await;
    assert_eq!((source["targets"].as_u64(), source["answered"].as_u64()), (Some(3), Some(3)), "{source:#}");

    // While the nameserver is not well, who was found is asked on.
    for (mood, words) in [
        (Mood::Fault, "cannot be looked up: DNS error: error response: Server Failure"),
        (Mood::Forgot(known.clone()), "cannot be looked up: DNS error: error response: Server Failure"),
        (Mood::Garbage(12), "cannot be looked up: "),
        (Mood::Silent, "cannot be looked up: no answer within 1 s"),
    ] {
        nameserver.be(mood);
        let source = server.source_until("state", |state| state != "up").await;
        assert_eq!((source["targets"].as_u64(), source["answered"].as_u64()), (Some(3), Some(3)), "{source:#}");
        assert!(source["last_error"].as_str().unwrap().contains(words), "{source:#}");
        assert_eq!((source["state"].as_str(), server.count("state:current").await), (Some("partly"), 3));
        nameserver.be(Mood::Knows(known.clone()));
        server.source_until("state", |state| state == "up").await;
    }

    // A host that has no address, and a name that says that nobody is there: the others are asked.
    let mut changed = known.clone();
    changed[0] = record(STATUS, srv(a.address.port(), "gone.kong.test"));
    changed.splice(2..4, [record(OTHERS, srv(0, "."))]);
    nameserver.be(Mood::Knows(changed));
    let source = server.source_until("targets", |targets| targets == 1).await;
    assert_eq!(source["last_error"], "dns_srv: gone.kong.test. of _status._tcp.kong.test has no address", "{source:#}");
    nameserver.be(Mood::Knows(known));
    let source = server.source_until("state", |state| state == "up").await;
    assert_eq!(source["targets"], 3, "{source:#}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_is_asked_at_its_addresses_of_one_kind() {
    let six = |host: &str| record(host, RData::AAAA(Ipv6Addr::LOCALHOST.into()));
    let [one, two] = ["n1.kong.test", "n2.kong.test"].map(|host| record(STATUS, srv(9, host)));
    let known = vec![one, two, here("n1.kong.test"), six("n1.kong.test"), six("n2.kong.test")];
    let nameserver = Nameserver::start(Mood::Knows(known)).await;
    let found = check(&source(&[STATUS], &nameserver)).await;
    let asked: Vec<_> = found.lines.iter().map(|(_, words)| words.split(": ").next().unwrap()).collect();
    assert_eq!(asked, ["http://127.0.0.1:9", "http://[::1]:9"], "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_without_records_is_told_and_its_nodes_are_unobserved_not_behind() {
    let clock = clock();
    let (a, b) = (plane("a").await, plane("b").await);
    let known = [a.address.port(), b.address.port()].map(|port| record(STATUS, srv(port, "n1.kong.test")));
    let known = Mood::Knows([&known[..], &[here("n1.kong.test")]].concat());
    let nameserver = Nameserver::start(known.clone()).await;
    let source = source(&[STATUS], &nameserver);
    let server = Server::start(vec![source.clone()], clock.clone()).await;
    server.until("state:current", 2).await;

    // The name is gone; the name is there, and has other records alone.
    for empty in [Vec::new(), vec![here(STATUS)]] {
        nameserver.be(Mood::Knows(empty));
        server.until("state:unobserved", 2).await;
        assert_eq!(server.count("state:behind").await, 0);
        let shown = server.source().await;
        assert_eq!(
            (shown["state"].as_str(), shown["last_error"].as_str()),
            (Some("blind"), Some("dns_srv: _status._tcp.kong.test has no SRV records")),
            "{shown:#}"
        );
        let found = check(&source).await;
        let lines: Vec<_> = found.lines.iter().map(|(works, words)| (*works, words.as_str())).collect();
        let words = "dns_srv: _status._tcp.kong.test has no SRV records";
        assert_eq!(lines, [(false, words), (false, "there are no targets")]);
        nameserver.be(known.clone());
        server.until("state:current -state:unobserved", 2).await;
    }
    let folder = server.stop().await;

    // So it is for who has just started, and found nobody yet.
    nameserver.be(Mood::Fault);
    let server = Server::start_in(folder, vec![source], clock).await;
    let shown = server.source_until("runs", |runs| runs.as_u64() > Some(1)).await;
    assert_eq!(shown["state"], "blind", "{shown:#}");
    assert!(shown["last_error"].as_str().unwrap().starts_with("dns_srv: _status._tcp.kong.test cannot be looked up: "));
    server.until("state:unobserved", 2).await;
    assert_eq!(server.count("state:behind").await, 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_garbage_or_never_comes_is_waited_for_until_the_timeout_and_no_longer() {
    let nameserver = Nameserver::start(Mood::Silent).await;
    let names: Vec<String> = (0..64).map(|number| format!("_status._tcp.kong{number}.test")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let all = source(&names, &nameserver);
    let began = Instant::now();
    let found = check(&all).await;
    // Of 64 names none waits for another.
    assert!((1..10).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    assert_eq!(found.lines.len(), 65, "{found:?}");
    for (_, words) in &found.lines[..64] {
        assert!(words.ends_with("cannot be looked up: no answer within 1 s"), "{words}");
    }

    // An answer that ends, or turns to nonsense, at each of its bytes.
    nameserver.be(Mood::Garbage(0));
    let one = source(&[STATUS], &nameserver);
    let began = Instant::now();
    let founds = join_all((0..120).map(|_| check(&one))).await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert!(founds.iter().all(|found| !found.works()), "{founds:?}");

    // A nameserver that is not there.
    drop(nameserver);
    let began = Instant::now();
    let found = check(&one).await;
    assert!(began.elapsed() < Duration::from_secs(10) && !found.works(), "{found:?}");
}
