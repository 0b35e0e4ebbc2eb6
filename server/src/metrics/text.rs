//! Prometheus text 0.0.4 from the families that prometheus-client writes as OpenMetrics. The two differ in a few lines:
//! there a counter's family has no `_total` and an info's no `_info`, units have a line, and an end is marked.

/// The same families and samples in text 0.0.4.
#[must_use]
pub fn from_open_metrics(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut help = None;
    for line in open_metrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            // The name depends on the type, which comes next.
            help = rest.split_once(' ').map(|(_, words)| words);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or((rest, "unknown"));
            let (suffix, kind) = kind_in_text(kind);
            if let Some(words) = help.take() {
                text.push_str(&format!("# HELP {name}{suffix} {words}\n"));
            }
            text.push_str(&format!("# TYPE {name}{suffix} {kind}\n"));
        } else if !line.starts_with('#') {
            text.push_str(without_exemplar(line));
            text.push('\n');
        }
    }
    text
}

/// What the name of a family ends in, and its type.
fn kind_in_text(kind: &str) -> (&'static str, &'static str) {
    match kind {
        "counter" => ("_total", "counter"),
        "info" => ("_info", "gauge"),
        "gauge" => ("", "gauge"),
        "histogram" => ("", "histogram"),
        "summary" => ("", "summary"),
        _ => ("", "untyped"),
    }
}

/// An exemplar is what follows ` # ` outside of label values.
fn without_exemplar(line: &str) -> &str {
    let mut quoted = false;
    let mut escaped = false;
    for (index, byte) in line.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'#' if !quoted => return line[..index].trim_end(),
            _ => {}
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_named_as_text_names_them() {
        let open_metrics = "\
# HELP a_b Things.
# TYPE a_b counter
a_b_total{x=\"# \\\" #\"} 1 # {trace=\"7\"} 0.5
# HELP c_seconds Lags.
# TYPE c_seconds histogram
# UNIT c_seconds seconds
c_seconds_bucket{le=\"+Inf\"} 2
# HELP d Build.
# TYPE d info
d_info{version=\"1\"} 1
# HELP e Odd.
# TYPE e unknown
e 1.5
# EOF
";
        insta::assert_snapshot!(from_open_metrics(open_metrics), @r##"
        # HELP a_b_total Things.
        # TYPE a_b_total counter
        a_b_total{x="# \" #"} 1
        # HELP c_seconds Lags.
        # TYPE c_seconds histogram
        c_seconds_bucket{le="+Inf"} 2
        # HELP d_info Build.
        # TYPE d_info gauge
        d_info{version="1"} 1
        # HELP e Odd.
        # TYPE e untyped
        e 1.5
        "##);
    }
}
