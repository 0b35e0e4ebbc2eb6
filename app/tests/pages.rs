//! Every page, rendered on the server from a made-up fleet, without a database.

mod fixture;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use fixture::{Fixture, Mood};
use leptos::config::LeptosOptions;
use leptos::prelude::provide_context;
use leptos_axum::AxumRouteListing;
use leptos_axum::{LeptosRoutes, generate_route_list};
use std::sync::{Arc, LazyLock};
use tidemark_app::api::{Fleet, WayIn};
use tidemark_app::parts::demo::Demo;
use tidemark_app::parts::state::Shape;
use tidemark_app::{App, shell};
use tidemark_domain::verdict::{ConfigWord, ConnectionWord, Counter};
use tower::ServiceExt;

/// A page as a browser without scripts gets it.
struct Page {
    status: u16,
    html: String,
}

impl Page {
    #[track_caller]
    fn has(&self, text: &str) -> &Self {
        assert!(self.html.contains(text), "{text:?} is not in the page:\n{}", self.words());
        self
    }

    #[track_caller]
    fn lacks(&self, text: &str) -> &Self {
        assert!(!self.html.contains(text), "{text:?} is in the page:\n{}", self.words());
        self
    }

    /// The page without its scripts, which carry the answer a second time.
    fn markup(&self) -> String {
        let mut rest = self.html.as_str();
        let mut out = String::new();
        while let Some(begin) = rest.find("<script") {
            out.push_str(&rest[..begin]);
            let end = rest[begin..].find("</script>").expect("a script ends");
            rest = &rest[begin + end + "</script>".len()..];
        }
        out + rest
    }

    /// What people read: no tags, one space between words.
    fn words(&self) -> String {
        let markup = self.markup().replace("<!>", "").replace("<!---->", "");
        let mut out = String::new();
        let mut inside = false;
        for letter in markup.chars() {
            match letter {
                '<' => inside = true,
                '>' => {
                    inside = false;
                    out.push(' ');
                }
                letter if !inside => out.push(letter),
                _ => {}
            }
        }
        out.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[track_caller]
    fn says(&self, text: &str) -> &Self {
        let words = self.words();
        assert!(words.contains(text), "{text:?} is not said:\n{words}");
        self
    }
}

/// Computed once, before any page is asked for: while Leptos lists the routes, no resource of the process loads.
static ROUTES: LazyLock<Vec<AxumRouteListing>> = LazyLock::new(|| generate_route_list(App));

async fn get(mood: Mood, path: &str) -> Page {
    get_with(mood, path, || {}).await
}

/// The same with more in the context of the page than the fleet.
async fn get_with(mood: Mood, path: &str, more: impl Fn() + Clone + Send + Sync + 'static) -> Page {
    let fleet: Fleet = Arc::new(Fixture::new(mood));
    let options = LeptosOptions::builder().output_name("tidemark").site_pkg_dir("pkg").build();
    let context = move || {
        provide_context(fleet.clone());
        more();
    };
    let router = Router::new()
        .leptos_routes_with_context(&options, ROUTES.clone(), context, {
            let options = options.clone();
            move || shell(options.clone())
        })
        .fallback(leptos_axum::file_and_error_handler(shell))
        .with_state(options);
    let request = Request::builder().uri(path).body(Body::empty()).expect("a request");
    let response = router.oneshot(request).await.expect("an answer");
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body(), usize::MAX).await.expect("a body");
    Page { status, html: String::from_utf8(body.to_vec()).expect("UTF-8") }
}

const PAGES: [&str; 6] =
    ["/", "/nodes", "/nodes/eu-prod/gw-eu-west-1-19", "/versions", "/versions/eu-prod", "/versions/eu-prod/41"];

#[tokio::test]
async fn every_page_answers_with_a_title_and_one_heading() {
    for path in PAGES {
        let page = get(Mood::Fleet, path).await;
        assert_eq!(page.status, 200, "{path}");
        assert_eq!(page.html.matches("<h1").count(), 1, "{path}");
        assert_eq!(page.html.matches("<main").count(), 1, "{path}");
        page.has("· Tidemark</title>").has("lang=\"en\"").has("<time datetime=\"2026-11-20T03:21:07Z\"");
    }
}

#[tokio::test]
async fn no_page_names_a_colour_or_sets_html() {
    for path in PAGES {
        let markup = get(Mood::Fleet, path).await.markup();
        let literal = |text: &str| {
            let at = markup.find(text);
            assert!(at.is_none(), "{path}: {:?}", at.map(|at| markup[at..].chars().take(80).collect::<String>()));
        };
        for text in ["style=", "rgb(", "hsl(", "fill=\"#", "stroke=\"#", "color:#"] {
            literal(text);
        }
    }
}

#[tokio::test]
async fn a_failed_load_is_a_failure_and_says_so() {
    for path in PAGES {
        let page = get(Mood::Broken, path).await;
        assert_eq!(page.status, 500, "{path}");
        page.says("This could not be read").says("request 7c1f04").has("role=\"alert\"");
    }
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    for path in ["/nodes/eu-prod/nobody", "/versions/nowhere", "/versions/eu-prod/99", "/elsewhere", "/nodes/a/b/c"] {
        let page = get(Mood::Fleet, path).await;
        assert_eq!(page.status, 404, "{path}");
        page.says("There is no such thing here");
    }
}

#[tokio::test]
async fn a_bad_address_is_the_askers_fault() {
    for path in
        ["/?at=yesterday", "/?known=then", "/nodes/Not%20A%20Name/n", "/versions/eu-prod/zero", "/versions/eu-prod/0"]
    {
        let page = get(Mood::Fleet, path).await;
        assert_eq!(page.status, 400, "{path}");
        page.says("This question cannot be answered");
    }
}

#[tokio::test]
async fn an_empty_fleet_says_how_to_begin() {
    let overview = get(Mood::Empty, "/").await;
    assert_eq!(overview.status, 200);
    overview.says("Nothing has reported yet.").says("Send the first heartbeat").has("/api/v1/heartbeats");
    overview.says("What can report").says("tidemark import PATH").lacks("authorization");
    get(Mood::Empty, "/nodes").await.says("No node matches").says("No node has reported yet.");
    get(Mood::Empty, "/versions").await.says("No ledger yet");
}

#[tokio::test]
async fn the_first_request_goes_to_the_server_that_was_asked() {
    let way_in =
        |needs_token| move || provide_context(WayIn { address: "https://tidemark.example".into(), needs_token });
    let open = get_with(Mood::Empty, "/", way_in(false)).await;
    open.says("curl https://tidemark.example/api/v1/heartbeats").lacks("authorization");
    let guarded = get_with(Mood::Empty, "/", way_in(true)).await;
    guarded.says("authorization: Bearer $TOKEN").says("TOKEN is a send token");
    let then = get_with(Mood::Empty, "/?at=2026-11-20T03:00:00Z", way_in(false)).await;
    then.says("Nothing had reported by then.").lacks("curl ");
    get_with(Mood::Fleet, "/", way_in(false)).await.lacks("curl ").lacks("What can report");
}

#[tokio::test]
async fn every_page_of_a_demo_says_so_and_no_other_does() {
    for path in PAGES.into_iter().chain(["/nodes/eu-prod/nobody", "/?at=then"]) {
        let page = get_with(Mood::Fleet, path, || provide_context(Demo)).await;
        page.says("Demo This fleet is simulated")
            .says("Watch your own")
            .says("tidemark serve --listen")
            .says("curl http");
        get(Mood::Fleet, path).await.lacks("This fleet is simulated");
    }
}

#[tokio::test]
async fn every_number_leads_to_what_it_counts() {
    let page = get(Mood::Fleet, "/").await;
    for counter in Counter::ALL {
        page.has(&format!("href=\"/nodes?q=counter:{}\"", counter.word())).says(counter.label());
    }
    page.says("101 by alias").says("What a hash comparison would say").has("href=\"/nodes?q=state:out-of-sync\"");
    page.has("href=\"/nodes?q=cp:eu-prod\"").has("href=\"/versions/eu-prod/41\"").has("href=\"/versions/eu-prod\"");
    let ledger = get(Mood::Fleet, "/versions/eu-prod").await;
    ledger.has("href=\"/nodes?q=cp:eu-prod+config:v41\"");
}

#[tokio::test]
async fn counters_on_the_page_add_up() {
    let page = get(Mood::Fleet, "/").await;
    let numbers: Vec<u32> = page
        .markup()
        .split("class=\"counters__n")
        .skip(1)
        .map(|rest| {
            rest.split('>')
                .nth(1)
                .and_then(|text| text.split('<').next())
                .and_then(|text| text.parse().ok())
                .expect("a count")
        })
        .collect();
    assert_eq!(numbers.len(), 5);
    page.has(&format!("of {} nodes run the head", numbers.iter().sum::<u32>()));
}

#[tokio::test]
async fn a_link_keeps_the_moment_and_the_page_says_that_it_is_of_the_past() {
    let at = "2026-11-19T14:12:10Z";
    for path in PAGES {
        let page = get(Mood::Fleet, &format!("{path}?at={at}&known=now")).await;
        assert_eq!(page.status, 200, "{path}");
        page.says("Looking at 2026-11-19 14:12:10 UTC").says("With all that became known since").says("Back to now");
        let markup = page.markup();
        for link in markup.split("<a ").skip(1).filter_map(|tag| tag.split("href=\"").nth(1)?.split('"').next()) {
            let leaves = link.starts_with('#') || link == "/api";
            let back = link == path;
            assert!(leaves || back || link.contains(&format!("at={at}")), "{path}: {link}");
        }
    }
}

#[tokio::test]
async fn a_held_clock_is_said_on_every_page() {
    for path in PAGES {
        get(Mood::Held, path).await.says("The clock is held at 2026-11-20 03:21:07 UTC.");
    }
    get(Mood::Fleet, "/").await.lacks("The clock is held").lacks("Looking at 20");
}

#[tokio::test]
async fn every_state_is_a_word_and_a_shape() {
    let page = get(Mood::Fleet, "/nodes?q=cp:lab").await;
    for word in ConfigWord::ALL {
        page.says(word.label());
    }
    for word in ConnectionWord::ALL {
        page.says(word.label());
    }
    let drifted = get(Mood::Fleet, "/nodes?q=cp:eu-prod").await;
    let node = get(Mood::Fleet, "/nodes/eu-prod/gw-eu-west-1-30").await;
    for shape in Shape::ALL {
        let drawn = format!("href=\"{}\"", shape.href());
        assert!([&page, &drifted, &node].iter().any(|page| page.html.contains(&drawn)), "{shape:?} is not drawn");
        page.has(&format!("id=\"{}\"", &shape.href()[1..]));
    }
}

#[tokio::test]
async fn the_question_is_a_form_and_its_facets_are_links() {
    let page = get(Mood::Fleet, "/nodes?q=state:behind+colour:red").await;
    page.has("action=\"/nodes\"").has("name=\"q\"").has("value=\"state:behind\"");
    page.says("3 nodes match").says("Not understood, and left out").says("colour: is no word of a question");
    page.says("In common: 2 of 3 have gateway 3.10.0.2; 13.9 % of the rest, 4.8 times as often. List these.");
    page.has("href=\"/nodes?q=state:behind+cp:eu-prod\"");
    let sorted = get(Mood::Fleet, "/nodes?q=sort:since").await;
    sorted.has("aria-sort=\"ascending\"").has("href=\"/nodes?q=sort:-since\"");
}

#[tokio::test]
async fn lists_page_by_key() {
    let first = get(Mood::Fleet, "/nodes?q=cp:eu-prod").await;
    first.has("href=\"/nodes?q=cp:eu-prod&amp;after=50\"").says("50 of 103").lacks("From the beginning");
    let second = get(Mood::Fleet, "/nodes?q=cp:eu-prod&after=50").await;
    second.says("From the beginning").has("after=100");
}

#[tokio::test]
async fn a_node_shows_both_axes_its_verdict_and_its_proof() {
    let page = get(Mood::Fleet, "/nodes/eu-prod/gw-eu-west-1-19").await;
    page.says("Connectivity connected").says("Configuration behind").says("Runs v40; 1 change missing for 9 min 29 s.");
    page.says("Behind by 1 change for 9 min 29 s").says("19 reports since 03:11:38");
    page.says(fixture::OLDER).says(fixture::NEWER).says("By raw hash out of sync");
    page.says("What we know").says("What we infer").says("What we cannot know");
    page.says("Versions reached").says("≤ 10 s").says("close code 1006").says("400 ms ahead of ours");
    let drift = get(Mood::Fleet, "/nodes/eu-prod/gw-eu-west-1-30").await;
    drift.says("Configuration current by alias").says("plugin state unverified").says("By raw hash out of sync");
}

#[tokio::test]
async fn what_a_node_says_is_text() {
    let page = get(Mood::Fleet, "/nodes/lab/lab-rejected").await;
    page.says("route orders-v1").lacks("<script>alert(1)");
    assert!(page.markup().contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
}

#[tokio::test]
async fn a_version_shows_its_names_with_their_evidence_and_who_is_missing() {
    let page = get(Mood::Fleet, "/versions/eu-prod/41").await;
    page.says("101 of 103 nodes reached v41. 2 are missing .").says("2.2 s").says("not reached").says("98 %");
    page.says("b27d3e81…68b222").says("v1 · 3.10.0.2").says("same behaviour digest").says("Not proven.");
    page.says("half of them in 2.2 s")
        .has("class=\"c-first\"")
        .says("1,266")
        .says("hosts served")
        .says("not yet")
        .says("missing first, then slowest first");
    page.says("What changed")
        .says("plugins 1 changed; consumers 1 removed")
        .says("1c6f3f0e-7d1c-4b0e-8f86-0a9d4f2f7b11");
    get(Mood::Fleet, "/versions/eu-prod/30").await.says("Its content was not seen.");
}

#[tokio::test]
async fn a_version_shows_how_each_cohort_took_it_and_who_of_it_is_missing() {
    let page = get(Mood::Fleet, "/versions/eu-prod/41").await;
    page.says("By cohort").says("Cohort Nodes Reached Half 90 % 99 % Slowest Stragglers");
    page.says("v1 · 3.10.0.2 36 34 ").says(" gw-eu-west-1-19 , gw-eu-west-1-23 v1 · 3.10.0.3 33 33 ");
    page.has("href=\"/nodes?q=cp:eu-prod+gateway:%3D3.10.0.2\"");
    // Nothing reached it there, nobody knows those nodes any more, and four of them are not named.
    page.says("v1 · gateway not known 9 0 – – – – gone-1 , gone-2 , gone-3 , gone-4 , gone-5 and 4 more");
    page.lacks("Written down");
    let cohorts = page
        .markup()
        .split("id=\"cohorts\"")
        .nth(1)
        .and_then(|rest| rest.split("</section>").next())
        .map(str::to_owned);
    let links = cohorts.expect("a section").matches("href=\"/nodes/eu-prod/gw-").count();
    assert_eq!(links, 2, "a straggler that is known leads to its page");
    get(Mood::Fleet, "/versions/eu-prod/40").await.says("Written down for good at 03:20:07");
}

#[tokio::test]
async fn tables_say_what_they_are() {
    for path in PAGES {
        let markup = get(Mood::Fleet, path).await.markup();
        for table in markup.split("<table").skip(1) {
            let table = table.split("</table>").next().unwrap_or_default();
            assert!(table.contains("<caption"), "{path}: a table without a caption");
            assert!(!table.replace("<thead", "").contains("<th>"), "{path}: a head without a scope");
        }
    }
}

#[tokio::test]
async fn server_functions_have_their_own_status() {
    let page = get(Mood::Fleet, "/pages/fleet?at=&known=").await;
    assert_eq!(page.status, 200);
    page.lacks("<");
    for (path, status) in [
        ("/pages/node?cp=eu-prod&id=nobody&after=&at=&known=", 404),
        ("/pages/fleet?at=yesterday&known=", 400),
        ("/pages/fleet", 400),
        ("/pages/fleet?at=&at=&known=", 400),
        ("/pages/version?cp=eu-prod&n=x&at=&known=", 400),
    ] {
        let page = get(Mood::Fleet, path).await;
        assert_eq!(page.status, status, "{path}: {}", page.html);
    }
}
