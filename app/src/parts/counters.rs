//! The five counters: each the way to the list that it counts, with the one qualifier that matters.

use super::part::{IntoPart, Part};
use super::state::{State, Stated};
use crate::links::Links;
use crate::words::{age, number};
use leptos::prelude::*;
use tidemark_domain::verdict::{ConfigWord, ConnectionWord, Counter};
use tidemark_domain::view::{Count, FleetView};

/// What is said below a counter.
fn qualifier(counter: Counter, nodes: u32, fleet: &FleetView) -> String {
    if nodes == 0 {
        return hint(counter).into();
    }
    match counter {
        Counter::NotHeard => listed(
            fleet
                .connection_states
                .iter()
                .filter(|count| !matches!(count.of, ConnectionWord::Connected | ConnectionWord::Gone))
                .map(|count| (count.of.label(), count.nodes)),
        ),
        Counter::Blocked => blocked(nodes, &fleet.config_states),
        Counter::Behind => oldest_behind(nodes, fleet).unwrap_or_else(|| hint(counter).into()),
        Counter::RollingOut => hint(counter).into(),
        Counter::Current if fleet.current_by_alias > 0 => format!("{} by alias", number(fleet.current_by_alias.into())),
        Counter::Current => hint(counter).into(),
    }
}

/// What a counter counts.
const fn hint(counter: Counter) -> &'static str {
    match counter {
        Counter::NotHeard => "late, disconnected, never seen",
        Counter::Blocked => "cannot take the head, or not proven",
        Counter::Behind => "past the time a push may take",
        Counter::RollingOut => "within the time a push may take",
        Counter::Current => "at the head of their control plane",
    }
}

fn listed(counts: impl Iterator<Item = (&'static str, u32)>) -> String {
    let words: Vec<String> = counts
        .filter(|(_, nodes)| *nodes > 0)
        .map(|(word, nodes)| format!("{} {word}", number(nodes.into())))
        .collect();
    words.join(", ")
}

/// The blocked states with their counts; without them where nodes that are not heard are among them too, as the counts
/// would not add up.
fn blocked(nodes: u32, states: &[Count<ConfigWord>]) -> String {
    let states: Vec<_> =
        states.iter().filter(|count| count.of.counter() == Counter::Blocked && count.nodes > 0).collect();
    if states.iter().map(|count| count.nodes).sum::<u32>() == nodes {
        return listed(states.iter().map(|count| (count.of.label(), count.nodes)));
    }
    let words: Vec<_> = states.iter().map(|count| count.of.label()).collect();
    words.join(", ")
}

/// The age of the oldest delay, if every node that is behind is among the worst.
fn oldest_behind(nodes: u32, fleet: &FleetView) -> Option<String> {
    let counted = fleet.worst.iter().filter(|row| row.verdict.counter() == Some(Counter::Behind));
    let since: Vec<_> = counted.filter_map(|row| row.verdict.config.since()).collect();
    (since.len() >= usize::try_from(nodes).ok()?).then_some(())?;
    since.into_iter().min().map(|since| format!("oldest {}", age(since, fleet.as_of.at)))
}

/// The five counters of the fleet.
#[component]
pub fn Counters(
    /// The fleet.
    fleet: FleetView,
    /// Keeps the moment.
    links: Links,
) -> Part {
    let counters = fleet
        .counters
        .iter()
        .map(|count| {
            let zero = count.nodes == 0;
            let class = if zero { "counters__n zero" } else { "counters__n" };
            view! {
                <li>
                    <a href=links.nodes(&format!("counter:{}", count.of.word()))>
                        <State look=count.of.look() word=count.of.text() zero=zero />
                        <span class=class>{number(count.nodes.into())}</span>
                        <span class="counters__sub">{qualifier(count.of, count.nodes, &fleet)}</span>
                    </a>
                </li>
            }
            .part()
        })
        .collect::<Vec<_>>();
    view! {
        <ul class="counters" aria-label="Nodes by state">
            {counters}
        </ul>
    }
    .part()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_given_only_where_they_add_up() {
        let states = [
            Count { of: ConfigWord::Rejected, nodes: 3 },
            Count { of: ConfigWord::Empty, nodes: 1 },
            Count { of: ConfigWord::Behind, nodes: 9 },
            Count { of: ConfigWord::Unknown, nodes: 0 },
        ];
        assert_eq!(blocked(4, &states), "3 rejected, 1 empty");
        assert_eq!(blocked(3, &states), "rejected, empty");
    }
}
