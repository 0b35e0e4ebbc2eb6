//! Charts: a series goes through plotters and comes out as shapes with classes ([`Drawing`]), themed by the style sheet.
//!
//! plotters knows colours, not classes. Each [`Ink`] has a colour here that stands for it and is never shown: the backend
//! takes it back into the ink. A colour that stands for none is a fault of ours, and draws as an axis.

pub mod series;

use plotters::chart::ChartBuilder;
use plotters::coord::Shift;
use plotters::coord::combinators::IntoLogRange;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::{Circle, PathElement, Polygon, Text};
use plotters::series::LineSeries;
use plotters::style::{RGBColor, ShapeStyle, TextStyle};
use plotters_backend::text_anchor::{HPos, VPos};
use plotters_backend::{BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind};
use std::convert::Infallible;
use tidemark_domain::drawing::{Anchor, Drawing, Figure, Ink, Mark};
use tidemark_domain::time::{MINUTE, SECOND, span};

/// Size of text in pixels; never scaled down.
const TEXT_PX: u32 = 11;
/// Width of a page's column, and of a phone's.
const WIDTHS: [u32; 2] = [720, 358];
/// Height of a chart.
const HEIGHT: u32 = 200;
/// Points of a curve at most; more could not be told apart.
const POINTS_MAX: usize = 400;

/// The backend of plotters that collects shapes.
struct Shapes<'a>(&'a mut Drawing);

fn colour(ink: Ink) -> RGBColor {
    let place = Ink::ALL.iter().position(|one| *one == ink).unwrap_or(0);
    RGBColor(u8::try_from(place).unwrap_or(0), 0x5e, 0xa1)
}

fn ink(colour: BackendColor) -> Ink {
    Ink::ALL.get(usize::from(colour.rgb.0)).copied().unwrap_or(Ink::Axis)
}

fn style(ink: Ink) -> ShapeStyle {
    ShapeStyle { color: colour(ink).into(), filled: false, stroke_width: 1 }
}

fn filled(ink: Ink) -> ShapeStyle {
    ShapeStyle { filled: true, ..style(ink) }
}

fn words(ink: Ink) -> TextStyle<'static> {
    let RGBColor(red, green, blue) = colour(ink);
    let color = BackendColor { alpha: 1.0, rgb: (red, green, blue) };
    TextStyle { color, ..TextStyle::from(("sans-serif", TEXT_PX)) }
}

impl DrawingBackend for Shapes<'_> {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        (self.0.width, self.0.height)
    }

    fn ensure_prepared(&mut self) -> Result<(), DrawingErrorKind<Infallible>> {
        Ok(())
    }

    fn present(&mut self) -> Result<(), DrawingErrorKind<Infallible>> {
        Ok(())
    }

    fn draw_pixel(&mut self, at: BackendCoord, colour: BackendColor) -> Result<(), DrawingErrorKind<Infallible>> {
        self.0.marks.push(Mark::Dot { ink: ink(colour), at, radius: 1 });
        Ok(())
    }

    fn draw_line<S: BackendStyle>(
        &mut self,
        from: BackendCoord,
        to: BackendCoord,
        style: &S,
    ) -> Result<(), DrawingErrorKind<Infallible>> {
        self.0.marks.push(Mark::Line { ink: ink(style.color()), points: vec![from, to] });
        Ok(())
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        path: I,
        style: &S,
    ) -> Result<(), DrawingErrorKind<Infallible>> {
        self.0.marks.push(Mark::Line { ink: ink(style.color()), points: path.into_iter().collect() });
        Ok(())
    }

    fn draw_rect<S: BackendStyle>(
        &mut self,
        (left, top): BackendCoord,
        (right, bottom): BackendCoord,
        style: &S,
        fill: bool,
    ) -> Result<(), DrawingErrorKind<Infallible>> {
        let ink = ink(style.color());
        let mut points = vec![(left, top), (right, top), (right, bottom), (left, bottom)];
        self.0.marks.push(if fill {
            Mark::Area { ink, points }
        } else {
            points.push((left, top));
            Mark::Line { ink, points }
        });
        Ok(())
    }

    fn draw_circle<S: BackendStyle>(
        &mut self,
        at: BackendCoord,
        radius: u32,
        style: &S,
        _fill: bool,
    ) -> Result<(), DrawingErrorKind<Infallible>> {
        self.0.marks.push(Mark::Dot { ink: ink(style.color()), at, radius });
        Ok(())
    }

    fn fill_polygon<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        corners: I,
        style: &S,
    ) -> Result<(), DrawingErrorKind<Infallible>> {
        self.0.marks.push(Mark::Area { ink: ink(style.color()), points: corners.into_iter().collect() });
        Ok(())
    }

    fn draw_text<S: BackendTextStyle>(
        &mut self,
        text: &str,
        style: &S,
        (x, y): BackendCoord,
    ) -> Result<(), DrawingErrorKind<Infallible>> {
        let anchor = match style.anchor().h_pos {
            HPos::Left => Anchor::Start,
            HPos::Center => Anchor::Middle,
            HPos::Right => Anchor::End,
        };
        let size = i32::try_from(TEXT_PX).unwrap_or(11);
        let drop = match style.anchor().v_pos {
            VPos::Top => size,
            VPos::Center => size * 2 / 5,
            VPos::Bottom => 0,
        };
        let at = (x, y + drop);
        self.0.marks.push(Mark::Text { ink: ink(style.color()), at, anchor, text: text.to_owned() });
        Ok(())
    }

    fn estimate_text_size<S: BackendTextStyle>(
        &self,
        text: &str,
        _style: &S,
    ) -> Result<(u32, u32), DrawingErrorKind<Infallible>> {
        // No fonts on the server: a digit of a system font is about 0.6 of its height wide.
        let characters = u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
        Ok((characters.saturating_mul(TEXT_PX) * 6 / 10, TEXT_PX))
    }
}

/// What a propagation is drawn from.
#[derive(Clone, Debug)]
pub struct Spread<'a> {
    /// From publication to the first report, of each node that reached it; sorted.
    pub lags_ms: &'a [i64],
    /// Nodes that count.
    pub nodes: u32,
    /// Nodes that did not reach it and are away: censored, not slow.
    pub away: u32,
    /// How long a change may take before a node counts as behind.
    pub propagation_ms: i64,
}

/// The share of nodes at or past a version, by the time since its publication. `None` where no node reached it.
#[must_use]
pub fn propagation(spread: &Spread<'_>) -> Option<Figure> {
    let slowest = *spread.lags_ms.last()?;
    let reached = u32::try_from(spread.lags_ms.len()).unwrap_or(u32::MAX);
    let nodes = spread.nodes.max(reached);
    let percentile = |percent: usize| {
        let rank = (spread.lags_ms.len() * percent).div_ceil(100).max(1);
        spread.lags_ms.get(rank - 1).copied().unwrap_or(slowest)
    };
    let (p50, p90, p99) = (percentile(50), percentile(90), percentile(99));
    let caption = if reached == nodes {
        format!("All {nodes} nodes reached it within {}, half of them within {}.", span(slowest), span(p50))
    } else {
        let rest = nodes - reached;
        let away = if spread.away > 0 { format!(", {} of them away", spread.away) } else { String::new() };
        format!("{reached} of {nodes} nodes reached it, half of those within {}; {rest} did not{away}.", span(p50))
    };
    let numbers = vec![
        ("Reached".to_owned(), format!("{reached} of {nodes}")),
        ("p50".to_owned(), span(p50)),
        ("p90".to_owned(), span(p90)),
        ("p99".to_owned(), span(p99)),
        ("Slowest".to_owned(), span(slowest)),
    ];
    let told: Vec<String> = numbers.iter().map(|(label, value)| format!("{label} {value}")).collect();
    let [wide, narrow] = WIDTHS.map(|width| curve(spread, nodes, &[p50, p90, p99], width));
    Some(Figure { label: format!("{caption} {}.", told.join(", ")), caption, wide, narrow, numbers })
}

fn curve(spread: &Spread<'_>, nodes: u32, percentiles: &[i64], width: u32) -> Drawing {
    let mut drawing = Drawing { width, height: HEIGHT, marks: Vec::new() };
    let drawn = draw_curve(&Shapes(&mut drawing).into_drawing_area(), spread, nodes, percentiles);
    if let Err(error) = drawn {
        tracing::error!("a chart could not be drawn: {error}");
    }
    drawing
}

type Drawn = Result<(), Box<dyn std::error::Error>>;

fn draw_curve(area: &DrawingArea<Shapes<'_>, Shift>, spread: &Spread<'_>, nodes: u32, percentiles: &[i64]) -> Drawn {
    let seconds = |ms: i64| f64::from(u32::try_from(ms.max(0)).unwrap_or(u32::MAX)) / 1_000.0;
    let slowest = spread.lags_ms.last().copied().unwrap_or(0);
    let first = 0.1;
    let last = seconds(slowest.max(spread.propagation_ms).max(MINUTE)) * 1.5;
    let share = |count: usize| {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        f64::from(count) / f64::from(nodes.max(1)) * 100.0
    };
    let mut chart = ChartBuilder::on(area)
        .margin_top(8)
        .margin_right(48)
        .x_label_area_size(20)
        .y_label_area_size(44)
        .build_cartesian_2d((first..last).log_scale(), 0.0..100.0_f64)?;
    for percent in [0.0, 50.0, 100.0] {
        let ink = if percent == 0.0 { Ink::Axis } else { Ink::Grid };
        chart.draw_series([PathElement::new([(first, percent), (last, percent)], style(ink))])?;
        let (x, y) = chart.backend_coord(&(first, percent));
        let label = format!("{percent:.0} %");
        area.draw(&Text::new(label, (x - 6, y), words(Ink::Label).pos(at(HPos::Right, VPos::Center))))?;
    }
    let ticks = [1, 10, 60, 600, 3_600, 36_000, 86_400].into_iter().filter(|tick| f64::from(*tick) <= last);
    for tick in ticks {
        let (x, y) = chart.backend_coord(&(f64::from(tick), 0.0));
        let label = span(i64::from(tick) * SECOND);
        area.draw(&PathElement::new([(x, y), (x, y + 4)], style(Ink::Axis)))?;
        area.draw(&Text::new(label, (x, y + 6), words(Ink::Label).pos(at(HPos::Center, VPos::Top))))?;
    }
    let envelope = seconds(spread.propagation_ms);
    chart.draw_series([PathElement::new([(envelope, 0.0), (envelope, 100.0)], style(Ink::Threshold))])?;

    let mut steps = vec![(first, 0.0)];
    let stride = spread.lags_ms.len().div_ceil(POINTS_MAX).max(1);
    for (index, lag_ms) in spread.lags_ms.iter().enumerate() {
        let at = seconds(*lag_ms).max(first);
        let before = steps.last().map_or(0.0, |(_, share)| *share);
        if index % stride == 0 || index + 1 == spread.lags_ms.len() {
            steps.extend([(at, before), (at, share(index + 1))]);
        }
    }
    let reached = share(spread.lags_ms.len());
    steps.push((last, reached));
    let mut ground = steps.clone();
    ground.push((last, 0.0));
    chart.draw_series([Polygon::new(ground, filled(Ink::Fill))])?;
    chart.draw_series(LineSeries::new(steps, style(Ink::First)))?;
    for (percent, lag_ms) in [50, 90, 99].into_iter().zip(percentiles) {
        let count = (spread.lags_ms.len() * percent).div_ceil(100);
        let point = (seconds(*lag_ms).max(first), share(count));
        chart.draw_series([Circle::new(point, 3, filled(Ink::First))])?;
    }
    let (x, y) = chart.backend_coord(&(last, reached));
    // Nodes that are away did not answer: short upright ticks at the end of the curve, a few stand for all.
    for place in 0..i32::try_from(spread.away.min(12)).unwrap_or(0) {
        let x = x - 8 - place * 4;
        area.draw(&PathElement::new([(x, y - 10), (x, y - 4)], style(Ink::Censored)))?;
    }
    let label = format!("{reached:.0} %");
    area.draw(&Text::new(label, (x + 6, y), words(Ink::Value).pos(at(HPos::Left, VPos::Center))))?;
    Ok(())
}

fn at(h_pos: HPos, v_pos: VPos) -> plotters_backend::text_anchor::Pos {
    plotters_backend::text_anchor::Pos::new(h_pos, v_pos)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(lags_ms: &[i64]) -> Spread<'_> {
        Spread { lags_ms, nodes: 10, away: 1, propagation_ms: MINUTE }
    }

    #[test]
    fn the_caption_says_the_finding() {
        #[track_caller]
        fn check(lags_ms: &[i64], nodes: u32, away: u32, caption: &str) {
            let spread = Spread { lags_ms, nodes, away, propagation_ms: MINUTE };
            assert_eq!(propagation(&spread).map(|figure| figure.caption).as_deref(), Some(caption));
        }
        check(&[500, 900], 2, 0, "All 2 nodes reached it within 900 ms, half of them within 500 ms.");
        check(&[500, 900], 4, 1, "2 of 4 nodes reached it, half of those within 500 ms; 2 did not, 1 of them away.");
        assert_eq!(propagation(&spread(&[])), None);
    }

    #[test]
    fn shapes_stay_inside_the_drawing_and_texts_have_inks() {
        let figure = propagation(&spread(&[0, 10, 900, 2_000, 61_000, 7_200_000])).expect("nodes reached it");
        for drawing in [&figure.wide, &figure.narrow] {
            let inside = |(x, y): (i32, i32)| {
                (0..=drawing.width.cast_signed()).contains(&x) && (-12..=drawing.height.cast_signed()).contains(&y)
            };
            assert!(drawing.marks.len() > 10);
            for mark in &drawing.marks {
                let all = match mark {
                    Mark::Line { points, .. } | Mark::Area { points, .. } => points.iter().copied().all(inside),
                    Mark::Dot { at, .. } | Mark::Text { at, .. } => inside(*at),
                };
                assert!(all, "{mark:?}");
            }
            let labels = drawing.marks.iter().filter(|mark| matches!(mark, Mark::Text { ink: Ink::Label, .. }));
            assert!(labels.count() >= 6);
        }
    }

    #[test]
    fn every_ink_survives_its_colour() {
        for one in Ink::ALL {
            let RGBColor(red, green, blue) = colour(one);
            assert_eq!(ink(BackendColor { alpha: 1.0, rgb: (red, green, blue) }), one);
        }
    }
}
