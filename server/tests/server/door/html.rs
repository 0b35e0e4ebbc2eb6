//! What people read on a page, taken out of its markup.

/// The part between header and foot, without drawings and comments.
pub fn main(page: &str) -> String {
    let mut rest = between(page, "<main", "</main>").next().expect("a page has a main part");
    let mut out = String::new();
    while let Some((before, after)) = rest.split_once("<svg") {
        out.push_str(before);
        rest = after.split_once("</svg>").expect("a drawing ends").1;
    }
    (out + rest).replace("<!>", "")
}

/// The stretches that begin after `from` and end before `to`.
pub fn between<'a>(markup: &'a str, from: &'a str, to: &'a str) -> impl Iterator<Item = &'a str> {
    markup.split(from).skip(1).filter_map(move |rest| Some(rest.split_once(to)?.0))
}

/// Markup without its tags, with one space between words.
pub fn words(markup: &str) -> String {
    let texts = markup.split('<').map(|tag| tag.split_once('>').map_or(tag, |(_, text)| text));
    let text = texts.collect::<Vec<_>>().join(" ");
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The rows of the first table after a mark: each with its markup, and its cells in words.
pub fn rows<'a>(main: &'a str, mark: &str) -> Vec<(&'a str, Vec<String>)> {
    let table = main.split_once(mark).unwrap_or_else(|| panic!("{mark} is not in {main}")).1;
    let body = between(table, "<tbody>", "</tbody>").next().expect("a table");
    let cells = |row: &str| {
        let row = row.replace("</th>", "</td>");
        row.split("</td>").map(words).collect::<Vec<_>>()
    };
    between(body, "<tr>", "</tr>").map(|row| (row, cells(row))).collect()
}
