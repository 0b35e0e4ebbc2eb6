//! A drawing as values: shapes with classes, which the style sheet gives their colours. The server draws it, the page
//! lays it out as SVG; there is no markup in between.

use serde::{Deserialize, Serialize};

/// A drawing in pixels, origin at the upper left.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drawing {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// What to draw, back to front.
    pub marks: Vec<Mark>,
}

/// One shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// An open line.
    Line {
        /// Its ink.
        ink: Ink,
        /// Where it goes.
        points: Vec<(i32, i32)>,
    },
    /// A filled shape.
    Area {
        /// Its ink.
        ink: Ink,
        /// Its corners.
        points: Vec<(i32, i32)>,
    },
    /// A dot.
    Dot {
        /// Its ink.
        ink: Ink,
        /// Its middle.
        at: (i32, i32),
        /// Its radius.
        radius: u32,
    },
    /// Words.
    Text {
        /// Its ink.
        ink: Ink,
        /// The foot of its first, middle or last character.
        at: (i32, i32),
        /// Which of them.
        anchor: Anchor,
        /// What it says.
        text: String,
    },
}

/// Which part of a text stands at its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Anchor {
    /// The first character.
    Start,
    /// The middle.
    Middle,
    /// The last character.
    End,
}

impl Anchor {
    /// The value of SVG's `text-anchor`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Middle => "middle",
            Self::End => "end",
        }
    }
}

/// What a shape is drawn with: a role, not a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ink {
    /// The first series.
    First,
    /// The second series, dashed.
    Second,
    /// The third series, dotted.
    Third,
    /// Ground of the first series.
    Fill,
    /// A range that is usual.
    Band,
    /// Lines to read along.
    Grid,
    /// The axes.
    Axis,
    /// A threshold, dotted.
    Threshold,
    /// Something that ended without an answer.
    Censored,
    /// Words beside axes.
    Label,
    /// Words on data.
    Value,
}

impl Ink {
    /// Every ink.
    pub const ALL: [Self; 11] = [
        Self::First,
        Self::Second,
        Self::Third,
        Self::Fill,
        Self::Band,
        Self::Grid,
        Self::Axis,
        Self::Threshold,
        Self::Censored,
        Self::Label,
        Self::Value,
    ];

    /// The class that the style sheet knows.
    #[must_use]
    pub const fn class(self) -> &'static str {
        match self {
            Self::First => "c-first",
            Self::Second => "c-second",
            Self::Third => "c-third",
            Self::Fill => "c-fill",
            Self::Band => "c-band",
            Self::Grid => "c-grid",
            Self::Axis => "c-axis",
            Self::Threshold => "c-threshold",
            Self::Censored => "c-censored",
            Self::Label => "c-label",
            Self::Value => "c-value",
        }
    }
}

/// A drawing with what it says: for a page of any width, and for those who do not see it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figure {
    /// The finding, as a sentence.
    pub caption: String,
    /// The same with the numbers, for screen readers.
    pub label: String,
    /// At the width of a page.
    pub wide: Drawing,
    /// At the width of a phone.
    pub narrow: Drawing,
    /// The numbers behind it: label and value.
    pub numbers: Vec<(String, String)>,
}
