//! Series over time: up to three lines, a band of what they spread over, gaps as gaps, and marks at moments.

use plotters::chart::ChartBuilder;
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::{Circle, PathElement, Polygon, Text};
use plotters::series::LineSeries;
use plotters_backend::text_anchor::{HPos, VPos};
use tidemark_domain::drawing::{Drawing, Figure, Ink};
use tidemark_domain::time::{DAY, HOUR, MINUTE, Timestamp};

use super::{Drawn, HEIGHT, Shapes, WIDTHS, at, filled, style, words};

/// Points of a line at most; more could not be told apart on a screen.
pub const POINTS_MAX: usize = 288;
/// Lines of one drawing: as many inks as there are for series.
const LINES: [Ink; 3] = [Ink::First, Ink::Second, Ink::Third];
/// Marks of one drawing at most, the newest of them.
const MARKS_MAX: usize = 24;

/// What a drawing is made from.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// The finding.
    pub caption: String,
    /// From when.
    pub from: Timestamp,
    /// Up to when.
    pub to: Timestamp,
    /// Up to three lines with their names, one value for each step of the range; `None` is a gap.
    pub lines: Vec<(String, Vec<Option<f64>>)>,
    /// The least and the most of each step of the first line, where a step holds several.
    pub band: Vec<Option<(f64, f64)>>,
    /// Moments with a name.
    pub marks: Vec<(Timestamp, String)>,
    /// The numbers behind it.
    pub numbers: Vec<(String, String)>,
}

/// Draws series, `unit` writing a value beside the axis and in words. `None` where no line has a value.
#[must_use]
pub fn figure(series: &Series, unit: &dyn Fn(f64) -> String) -> Option<Figure> {
    series.lines.iter().flat_map(|(_, values)| values).find(|value| value.is_some())?;
    let told = series.lines.iter().map(|(name, values)| {
        let values = || values.iter().flatten().copied();
        let (least, most) = (values().fold(f64::MAX, f64::min), values().fold(0.0, f64::max));
        let gaps = if series.lines[0].1.iter().any(Option::is_none) { ", with gaps" } else { "" };
        format!("{name} from {} to {}{gaps}", unit(least.min(most)), unit(most))
    });
    let label = format!("{} {}.", series.caption, told.collect::<Vec<_>>().join("; "));
    let [wide, narrow] = WIDTHS.map(|width| drawing(series, unit, width));
    Some(Figure { caption: series.caption.clone(), label, wide, narrow, numbers: series.numbers.clone() })
}

fn drawing(series: &Series, unit: &dyn Fn(f64) -> String, width: u32) -> Drawing {
    let mut drawing = Drawing { width, height: HEIGHT, marks: Vec::new() };
    if let Err(error) = draw(&Shapes(&mut drawing).into_drawing_area(), series, unit, width) {
        tracing::error!("a chart could not be drawn: {error}");
    }
    drawing
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of a year and places of a few hundred points")]
fn draw(area: &DrawingArea<Shapes<'_>, Shift>, series: &Series, unit: &dyn Fn(f64) -> String, width: u32) -> Drawn {
    let span_ms = series.to.since(series.from).max(1) as f64;
    let values = series.lines.iter().flat_map(|(_, values)| values.iter().flatten().copied());
    let most = values.chain(series.band.iter().flatten().map(|(_, most)| *most)).fold(0.0, f64::max);
    let (top, ticks) = scale(most);
    let mut chart = ChartBuilder::on(area)
        .margin_top(16)
        .margin_right(48)
        .x_label_area_size(20)
        .y_label_area_size(52)
        .build_cartesian_2d(0.0..span_ms, 0.0..top)?;
    for tick in ticks {
        let ink = if tick == 0.0 { Ink::Axis } else { Ink::Grid };
        chart.draw_series([PathElement::new([(0.0, tick), (span_ms, tick)], style(ink))])?;
        let (x, y) = chart.backend_coord(&(0.0, tick));
        area.draw(&Text::new(unit(tick), (x - 6, y), words(Ink::Label).pos(at(HPos::Right, VPos::Center))))?;
    }
    for (moment, label) in moments(series.from, series.to, if width > 500 { 8 } else { 4 }) {
        let (x, y) = chart.backend_coord(&(moment.since(series.from) as f64, 0.0));
        area.draw(&PathElement::new([(x, y), (x, y + 4)], style(Ink::Axis)))?;
        area.draw(&Text::new(label, (x, y + 6), words(Ink::Label).pos(at(HPos::Center, VPos::Top))))?;
    }
    let inside = |moment: &Timestamp| *moment >= series.from && *moment <= series.to;
    let marks: Vec<_> = series.marks.iter().filter(|(moment, _)| inside(moment)).collect();
    let mut free_from = i32::MIN;
    for (moment, name) in &marks[marks.len().saturating_sub(MARKS_MAX)..] {
        let x = moment.since(series.from) as f64;
        chart.draw_series([PathElement::new([(x, 0.0), (x, top)], style(Ink::Threshold))])?;
        let (x, y) = chart.backend_coord(&(x, top));
        // A name that would lie on the one before is left to the page's own list.
        if x > free_from {
            area.draw(&Text::new(name.clone(), (x, y - 2), words(Ink::Label).pos(at(HPos::Center, VPos::Bottom))))?;
            let letters = i32::try_from(name.chars().count()).unwrap_or(100);
            free_from = x + letters * 7 + 6;
        }
    }
    let middle = |place: usize, of: usize| (place as f64 + 0.5) * span_ms / (of.max(1) as f64);
    for run in runs(&series.band) {
        let of = series.band.len();
        let above = run.iter().map(|(place, (_, most))| (middle(*place, of), *most));
        let below = run.iter().rev().map(|(place, (least, _))| (middle(*place, of), *least));
        chart.draw_series([Polygon::new(above.chain(below).collect::<Vec<_>>(), filled(Ink::Band))])?;
    }
    let mut taken: Vec<i32> = Vec::new();
    for ((name, values), ink) in series.lines.iter().zip(LINES) {
        for run in runs(values) {
            let points: Vec<(f64, f64)> =
                run.into_iter().map(|(place, value)| (middle(place, values.len()), value)).collect();
            if let (Ink::First, true) = (ink, series.lines.len() == 1) {
                let ends = points.first().zip(points.last()).map(|(first, last)| [(last.0, 0.0), (first.0, 0.0)]);
                let ground = points.iter().copied().chain(ends.into_iter().flatten()).collect::<Vec<_>>();
                chart.draw_series([Polygon::new(ground, filled(Ink::Fill))])?;
            }
            if let [one] = points.as_slice() {
                chart.draw_series([Circle::new(*one, 2, filled(ink))])?;
            } else {
                chart.draw_series(LineSeries::new(points, style(ink)))?;
            }
        }
        if let Some((place, last)) = values.iter().enumerate().rev().find_map(|(place, value)| Some((place, (*value)?)))
        {
            let (x, mut y) = chart.backend_coord(&(middle(place, values.len()), last));
            // Names at the ends of lines step aside for those that are there.
            while let Some(other) = taken.iter().find(|other| (**other - y).abs() < 12) {
                y = other - 12;
            }
            taken.push(y);
            let label = if series.lines.len() == 1 { unit(last) } else { name.clone() };
            area.draw(&Text::new(label, (x + 6, y), words(Ink::Value).pos(at(HPos::Left, VPos::Center))))?;
        }
    }
    Ok(())
}

/// Unbroken runs of values with their places.
fn runs<T: Copy>(values: &[Option<T>]) -> Vec<Vec<(usize, T)>> {
    let mut runs: Vec<Vec<(usize, T)>> = Vec::new();
    let mut open = false;
    for (place, value) in values.iter().enumerate() {
        match (value, open) {
            (Some(value), true) => {
                if let Some(run) = runs.last_mut() {
                    run.push((place, *value));
                }
            }
            (Some(value), false) => runs.push(vec![(place, *value)]),
            (None, _) => {}
        }
        open = value.is_some();
    }
    runs
}

/// The end of an axis that holds this value, and three to six round numbers on it, from 0.
fn scale(most: f64) -> (f64, Vec<f64>) {
    if !(most.is_finite() && most > 0.0) {
        return (1.0, vec![0.0, 1.0]);
    }
    let magnitude = 10_f64.powf(most.log10().floor());
    let step = [0.2, 0.25, 0.5, 1.0, 2.0, 2.5].map(|part| part * magnitude).into_iter().find(|step| most / step <= 5.0);
    let step = step.unwrap_or(2.5 * magnitude);
    let count = (most / step).ceil().clamp(1.0, 6.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to 6")]
    let ticks = (0..=count as u32).map(|tick| f64::from(tick) * step).collect();
    (count * step, ticks)
}

/// Moments to read a range by, with their names: of the clock within a day, of the calendar beyond. UTC.
fn moments(from: Timestamp, to: Timestamp, most: i64) -> Vec<(Timestamp, String)> {
    let span = to.since(from).max(1);
    let steps = [
        MINUTE,
        2 * MINUTE,
        5 * MINUTE,
        10 * MINUTE,
        15 * MINUTE,
        30 * MINUTE,
        HOUR,
        2 * HOUR,
        3 * HOUR,
        6 * HOUR,
        12 * HOUR,
        DAY,
        2 * DAY,
        7 * DAY,
        14 * DAY,
        30 * DAY,
        60 * DAY,
        120 * DAY,
    ];
    let step = steps.into_iter().find(|step| span / step <= most).unwrap_or(400 * DAY);
    let first = (from.ms() + step - 1).div_euclid(step) * step;
    (0..=most)
        .map(|place| Timestamp::from_ms(first + place * step))
        .take_while(|moment| *moment <= to)
        .map(|moment| {
            let text = moment.to_string();
            let part = |range: std::ops::Range<usize>| text.get(range).unwrap_or_default().to_owned();
            let name =
                if step >= 12 * HOUR && moment.ms() % DAY == 0 || step >= DAY { part(5..10) } else { part(11..16) };
            (moment, name)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tidemark_domain::drawing::Mark;

    fn series(values: Vec<Option<f64>>) -> Series {
        let from = Timestamp::parse("2026-11-20T00:00:00Z").unwrap();
        Series {
            caption: "Requests.".into(),
            from,
            to: from.plus(HOUR),
            lines: vec![("requests".into(), values)],
            ..Series::default()
        }
    }

    fn plain(value: f64) -> String {
        format!("{value}")
    }

    #[test]
    fn a_gap_is_not_drawn_through_and_no_value_is_no_drawing() {
        assert!(figure(&series(vec![None, None]), &plain).is_none());
        let lines = |values: Vec<Option<f64>>| {
            let figure = figure(&series(values), &plain).unwrap();
            let of = |mark: &&Mark| matches!(mark, Mark::Line { ink: Ink::First, .. });
            figure.wide.marks.iter().filter(of).count()
        };
        assert_eq!(lines(vec![Some(1.0), Some(2.0), Some(0.0), Some(3.0)]), 1);
        assert_eq!(lines(vec![Some(1.0), Some(2.0), None, Some(3.0), Some(3.0)]), 2);
        let told = figure(&series(vec![Some(1.0), None]), &plain).unwrap().label;
        assert!(told.contains("with gaps"), "{told}");
    }

    #[test]
    fn an_axis_ends_above_the_most_on_round_numbers() {
        #[track_caller]
        fn check(most: f64, top: f64) {
            let (found, ticks) = scale(most);
            assert!((found - top).abs() < 1e-9 * top, "{most}: {found}");
            assert!((2..=7).contains(&ticks.len()) && ticks[0] == 0.0, "{most}: {ticks:?}");
        }
        check(0.0, 1.0);
        check(f64::NAN, 1.0);
        check(1.0, 1.0);
        check(1.01, 1.25);
        check(7.0, 8.0);
        check(0.03, 0.03);
        check(99.0, 100.0);
    }

    #[test]
    fn hours_are_read_by_the_clock_and_weeks_by_the_calendar() {
        let from = Timestamp::parse("2026-11-20T00:10:00Z").unwrap();
        let names = |span| moments(from, from.plus(span), 8).into_iter().map(|(_, name)| name).collect::<Vec<_>>();
        assert_eq!(names(HOUR).first().map(String::as_str), Some("00:10"));
        assert_eq!(names(DAY), ["03:00", "06:00", "09:00", "12:00", "15:00", "18:00", "21:00", "00:00"]);
        assert_eq!(names(7 * DAY)[..2], ["11-21".to_owned(), "11-22".to_owned()]);
    }

    proptest! {
        #[test]
        fn no_values_leave_the_drawing(values in prop::collection::vec(prop::option::of(0.0..1e15_f64), 0..300)) {
            if let Some(figure) = figure(&series(values), &plain) {
                for drawing in [&figure.wide, &figure.narrow] {
                    for mark in &drawing.marks {
                        if let Mark::Line { points, .. } | Mark::Area { points, .. } = mark {
                            for (x, y) in points {
                                prop_assert!((0..=drawing.width.cast_signed()).contains(x), "{x}");
                                prop_assert!((-12..=drawing.height.cast_signed()).contains(y), "{y}");
                            }
                        }
                    }
                }
            }
        }
    }
}
