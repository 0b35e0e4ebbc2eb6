//! The tide bar: how far a fleet has come, against the mark that it must reach. What is not there yet is half as high,
//! so that it shows without colour, and no state is so small that it vanishes.

use super::part::{IntoPart, Part};
use super::state::{Stated, Tone};
use leptos::prelude::*;
use tidemark_domain::verdict::Counter;
use tidemark_domain::view::Count;

/// The bar is drawn in thousandths of its width; the mark stands at the end.
const BED: u32 = 985;
/// What a state with a single node keeps.
const LEAST: u32 = 12;
/// The gap between two states.
const GAP: u32 = 4;

/// One stretch of the bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stretch {
    tone: Tone,
    at: u32,
    width: u32,
    full: bool,
}

/// The stretches of the bar, what has arrived first, then what is on its way, then the rest.
fn stretches(counters: &[Count<Counter>]) -> Vec<Stretch> {
    let order = [Counter::Current, Counter::RollingOut, Counter::Behind, Counter::Blocked, Counter::NotHeard];
    let of = |counter| counters.iter().filter(|count| count.of == counter).map(|count| count.nodes).sum::<u32>();
    let shown: Vec<(Counter, u32)> =
        order.map(|counter| (counter, of(counter))).into_iter().filter(|(_, n)| *n > 0).collect();
    let total: u64 = shown.iter().map(|(_, nodes)| u64::from(*nodes)).sum();
    if total == 0 {
        return Vec::new();
    }
    let count = u32::try_from(shown.len()).unwrap_or(0);
    let room = BED - GAP * (count - 1);
    let fair = |nodes: u32| u32::try_from(u64::from(nodes) * u64::from(room) / total).unwrap_or(room);
    let mut widths: Vec<u32> = shown.iter().map(|(_, nodes)| fair(*nodes).max(LEAST)).collect();
    // What the small ones were given, and what rounding left, is the largest one's.
    let given: u32 = widths.iter().sum();
    if let Some(largest) = widths.iter_mut().max() {
        *largest = (*largest + room).saturating_sub(given);
    }
    let mut at = 0;
    shown
        .iter()
        .zip(widths)
        .map(|((counter, _), width)| {
            let part = Stretch { tone: counter.look().tone, at, width, full: *counter == Counter::Current };
            at += width + GAP;
            part
        })
        .collect()
}

/// The bar of a fleet or of one control plane.
#[component]
pub fn TideBar(
    /// The five counters.
    counters: Vec<Count<Counter>>,
    /// The bar in words.
    #[prop(into)]
    label: String,
) -> Part {
    let bars = stretches(&counters)
        .into_iter()
        .map(|part| {
            let (y, height) = if part.full { ("2", "8") } else { ("6", "4") };
            view! {
                <rect
                    class=format!("tide__part {}", part.tone.class())
                    x=part.at.to_string()
                    y=y
                    width=part.width.to_string()
                    height=height
                />
            }
            .part()
        })
        .collect::<Vec<_>>();
    view! {
        <svg class="tide" viewBox="0 0 1000 12" preserveAspectRatio="none" role="img" aria-label=label>
            <rect class="tide__bed" x="0" y="2" width=BED.to_string() height="8" />
            {bars}
            <rect class="tide__mark" x="990" y="0" width="10" height="12" />
        </svg>
    }
    .part()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(nodes: [u32; 5]) -> Vec<Count<Counter>> {
        Counter::ALL.iter().zip(nodes).map(|(of, nodes)| Count { of: *of, nodes }).collect()
    }

    #[test]
    fn the_parts_fill_the_bed_and_none_vanishes() {
        #[track_caller]
        fn check(nodes: [u32; 5]) {
            let parts = stretches(&counts(nodes));
            let end = parts.last().map_or(BED, |part| part.at + part.width);
            assert_eq!(end, BED, "{nodes:?}");
            assert!(parts.iter().all(|part| part.width >= LEAST), "{nodes:?} {parts:?}");
            assert_eq!(parts.len(), nodes.iter().filter(|count| **count > 0).count());
        }
        check([0, 0, 0, 0, 0]);
        check([0, 0, 0, 0, 7]);
        check([1, 0, 0, 0, 0]);
        check([1, 0, 2, 0, 238]);
        check([1, 1, 1, 1, 1_000_000]);
        check([u32::MAX, 1, 1, 1, u32::MAX]);
        check([20, 20, 20, 20, 20]);
    }

    #[test]
    fn what_has_arrived_comes_first_and_stands_full() {
        let parts = stretches(&counts([1, 1, 1, 1, 1]));
        assert_eq!(parts.iter().map(|part| part.full).collect::<Vec<_>>(), [true, false, false, false, false]);
    }
}
