//! The style sheets as one: a page asks for one file, and rules come in one stated order.

use std::{fs, path::Path};

use anyhow::Context;

use crate::inputs::files_below;

/// These come first, in this order: the custom properties that everything uses, then the bare elements. The others
/// follow by name; none of them may lean on coming after another.
const FIRST: [&str; 2] = ["tokens.css", "base.css"];

pub fn sheet(style_dir: &Path) -> anyhow::Result<String> {
    let mut sheets: Vec<_> = files_below(style_dir)?
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "css"))
        .map(|path| (path.file_name().unwrap_or_default().to_string_lossy().into_owned(), path))
        .collect();
    sheets.sort_by_key(|(name, _)| {
        let rank = FIRST.iter().position(|first| first == name).unwrap_or(FIRST.len());
        (rank, name.clone())
    });

    let mut all = String::new();
    for (_, path) in sheets {
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        all.push_str(&without_comments(&text));
    }
    Ok(all)
}

/// Comments, indentation and empty lines are for the people who write the sheet.
fn without_comments(sheet: &str) -> String {
    let mut bare = String::with_capacity(sheet.len());
    let mut rest = sheet;
    while let Some(at) = rest.find(['/', '"', '\'']) {
        let (before, from) = rest.split_at(at);
        bare.push_str(before);
        let length = if from.starts_with("/*") {
            from.find("*/").map_or(from.len(), |end| end + 2)
        } else if from.starts_with('/') {
            bare.push('/');
            1
        } else {
            let quoted = quoted_length(from);
            bare.push_str(&from[..quoted]);
            quoted
        };
        rest = &from[length..];
    }
    bare.push_str(rest);

    let lines = bare.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// How long the quoted string is that `text` begins with, both quotes included.
fn quoted_length(text: &str) -> usize {
    let quote = text.as_bytes()[0];
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            _ if byte == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::without_comments;

    #[track_caller]
    fn check(sheet: &str, expected: &str) {
        assert_eq!(without_comments(sheet), expected);
    }

    #[test]
    fn a_comment_goes_and_a_string_that_looks_like_one_stays() {
        check("/* why */\n  a { color: red; } /* so */\n\n", "a { color: red; }\n");
        check("a::before { content: \"/* kept */\"; }", "a::before { content: \"/* kept */\"; }\n");
        check("a { content: '\\'/* kept */'; }", "a { content: '\\'/* kept */'; }\n");
        check("a { inset: calc(1px / 2); }", "a { inset: calc(1px / 2); }\n");
        check("a {} /* never closed", "a {}\n");
    }
}
