//! What every page of a demo says: that it is one, and how to watch one's own fleet. It stands in the document after the
//! pages, so it is there on each of them, whatever they answer, and costs the bundle nothing.

use super::first::request;
use crate::api::WayIn;
use leptos::prelude::*;

/// What the server puts into the context of every page where the fleet is made up.
#[derive(Clone, Copy, Debug)]
pub struct Demo;

/// Where one's own Tidemark can listen while the demo runs.
const BESIDE: &str = "127.0.0.1:3100";

/// The banner, where this is a demo.
#[must_use]
pub fn banner() -> impl IntoView {
    use_context::<Demo>().map(|Demo| {
        let serve = format!("tidemark serve --listen {BESIDE} --database tidemark.db");
        let heartbeat = request(&WayIn { address: format!("http://{BESIDE}"), needs_token: false });
        view! {
            <footer class="demo" aria-label="About this demo">
                <details>
                    <summary>
                        <span class="demo__word">"Demo"</span>
                        <span class="demo__say">
                            "This fleet is simulated" <span class="demo__more">", and so is its past"</span> "."
                        </span>
                        <span class="demo__own">"Watch your own"</span>
                    </summary>
                    <p>"Serve a Tidemark of your own beside this one:"</p>
                    <code>{serve}</code>
                    <p>"and send it a first heartbeat:"</p>
                    <code>{heartbeat}</code>
                </details>
            </footer>
        }
    })
}
