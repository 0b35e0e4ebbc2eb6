//! The shapes of all states, once per document, after the pages: what is not hydrated costs the bundle nothing.

use leptos::prelude::*;

/// The symbols that [`super::state::Shape`] refers to. Bodies are 12 x 12, lines 18 x 12.
#[must_use]
pub fn sprite() -> impl IntoView {
    view! {
        <svg class="sprite" aria-hidden="true">
            <symbol id="g-current" viewBox="0 0 12 12">
                <circle cx="6" cy="6" r="5" fill="currentColor" />
            </symbol>
            <symbol id="g-alias" viewBox="0 0 12 12">
                <circle cx="6" cy="6" r="5.5" fill="currentColor" />
                <path d="M3.25 4.6h5.5M3.25 7.4h5.5" stroke="var(--hole)" stroke-width="1.4" />
            </symbol>
            <symbol id="g-noop" viewBox="0 0 12 12">
                <circle cx="6" cy="6" r="5.5" fill="currentColor" />
                <path d="M3 6h6" stroke="var(--hole)" stroke-width="1.5" />
            </symbol>
            <symbol id="g-propagating" viewBox="0 0 12 12">
                <circle cx="6" cy="6" r="4.75" fill="none" stroke="currentColor" stroke-width="1.5" />
                <path d="M1.25 6h9.5a4.75 4.75 0 0 1-9.5 0z" fill="currentColor" />
            </symbol>
            <symbol id="g-behind" viewBox="0 0 12 12">
                <path d="M.5 1.5h11L6 11.5z" fill="currentColor" />
            </symbol>
            <symbol id="g-ahead" viewBox="0 0 12 12">
                <path d="M6 1.6 10.8 10H1.2z" fill="none" stroke="currentColor" stroke-width="1.6" />
            </symbol>
            <symbol id="g-rejected" viewBox="0 0 12 12">
                <path d="M.5.5h11v11H.5z" fill="currentColor" />
                <path d="m3.4 3.4 5.2 5.2m0-5.2L3.4 8.6" stroke="var(--hole)" stroke-width="1.6" />
            </symbol>
            <symbol id="g-incompatible" viewBox="0 0 12 12">
                <circle cx="6" cy="6" r="4.75" fill="none" stroke="currentColor" stroke-width="1.6" />
                <path d="m2.7 9.3 6.6-6.6" stroke="currentColor" stroke-width="1.6" />
            </symbol>
            <symbol id="g-empty" viewBox="0 0 12 12">
                <path d="M1.5 1.5h9v9h-9z" fill="none" stroke="currentColor" stroke-width="2" />
            </symbol>
            <symbol id="g-unrecognized" viewBox="0 0 12 12">
                <path d="M3.4 1.5h5.2L11.2 6 8.6 10.5H3.4L.8 6z" fill="none" stroke="currentColor" stroke-width="1.5" />
                <circle cx="6" cy="6" r="1.5" fill="currentColor" />
            </symbol>
            <symbol id="g-unproven" viewBox="0 0 12 12">
                <circle
                    cx="6"
                    cy="6"
                    r="4.9"
                    fill="none"
                    stroke="currentColor"
                    stroke-width="1.4"
                    stroke-dasharray="2.4 1.4"
                />
                <path d="M3.6 4.8h4.8M3.6 7.2h4.8" stroke="currentColor" stroke-width="1.3" />
            </symbol>
            <symbol id="g-unknown" viewBox="0 0 12 12">
                <circle
                    cx="6"
                    cy="6"
                    r="4.75"
                    fill="none"
                    stroke="currentColor"
                    stroke-width="1.5"
                    stroke-dasharray="1.5 2.1"
                />
            </symbol>
            <symbol id="g-connected" viewBox="0 0 18 12">
                <path d="M3 6h12" stroke="currentColor" stroke-width="2" />
                <circle cx="3" cy="6" r="2.5" fill="currentColor" />
                <circle cx="15" cy="6" r="2.5" fill="currentColor" />
            </symbol>
            <symbol id="g-late" viewBox="0 0 18 12">
                <path d="M3 6h12" stroke="currentColor" stroke-width="2" stroke-dasharray="4.6 1.6" />
                <circle cx="3" cy="6" r="2.5" fill="currentColor" />
                <circle cx="15" cy="6" r="2" fill="none" stroke="currentColor" stroke-width="1.4" />
            </symbol>
            <symbol id="g-disconnected" viewBox="0 0 18 12">
                <path d="M3 6h3.2M11.8 6H15M7.4 2.2l3.2 7.6" stroke="currentColor" stroke-width="2" />
                <circle cx="3" cy="6" r="2.5" fill="currentColor" />
                <circle cx="15" cy="6" r="2.5" fill="currentColor" />
            </symbol>
            <symbol id="g-never" viewBox="0 0 18 12">
                <circle cx="3" cy="6" r="2" fill="none" stroke="currentColor" stroke-width="1.4" />
                <circle cx="15" cy="6" r="2" fill="none" stroke="currentColor" stroke-width="1.4" />
            </symbol>
            <symbol id="g-gone" viewBox="0 0 18 12">
                <path d="M3 6h7M10.5 2.5v7" stroke="currentColor" stroke-width="1.8" />
                <circle cx="3" cy="6" r="2.5" fill="currentColor" />
            </symbol>
            <symbol id="g-unobserved" viewBox="0 0 18 12">
                <path
                    d="M2 4.5c2 3 4.4 4 7 4s5-1 7-4M5 7.4 3.9 9.4M9 8.5v2.3M13 7.4l1.1 2"
                    fill="none"
                    stroke="currentColor"
                    stroke-width="1.5"
                />
            </symbol>
            <symbol id="g-flag" viewBox="0 0 8 10">
                <path d="M1 0v10" stroke="currentColor" stroke-width="1.6" />
                <path d="M1.5.5h6l-2 2.5 2 2.5h-6z" fill="currentColor" />
            </symbol>
            <symbol id="g-dot" viewBox="0 0 12 12">
                <circle cx="6" cy="6" r="3" fill="currentColor" />
            </symbol>
        </svg>
    }
}
