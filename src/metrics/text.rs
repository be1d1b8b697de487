//! The older text format (version 0.0.4), which node_exporter's textfile collector, promtool and scrapers without
//! OpenMetrics read.
//!
//! It differs from OpenMetrics in the comments: a counter's family has the name of its samples, with `_total`; it has no
//! type `info`, no units and no end mark.

/// Rewrites what [`super::openmetrics`] has made.
pub fn plain(openmetrics: &str) -> String {
    let mut text = String::with_capacity(openmetrics.len());
    let lines: Vec<&str> = openmetrics.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("EOF" | "UNIT"), ..) => {}
            (Some("#"), Some(word @ ("HELP" | "TYPE")), Some(name), Some(rest)) => {
                // The type stands behind the help.
                let types = lines.get(at..).unwrap_or_default().iter().filter_map(|line| line.strip_prefix("# TYPE "));
                let kind = types.filter_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).next();
                let (suffix, plain) = match kind {
                    Some("counter") => ("_total", "counter"),
                    Some("info") => ("_info", "gauge"),
                    Some(kind) => ("", kind),
                    None => ("", "untyped"),
                };
                let rest = if word == "TYPE" { plain } else { rest };
                text += &format!("# {word} {name}{suffix} {rest}\n");
            }
            _ => {
                text += line;
                text.push('\n');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn comments_name_the_samples() {
        let openmetrics = "\
# HELP a_bytes All of it.
# TYPE a_bytes counter
# UNIT a_bytes bytes
a_bytes_total{x=\"# TYPE\"} 3
# HELP b Which one.
# TYPE b info
b_info{c=\"d\"} 1
# HELP e How much.
# TYPE e gauge
e 2
# EOF
";
        let plain = "\
# HELP a_bytes_total All of it.
# TYPE a_bytes_total counter
a_bytes_total{x=\"# TYPE\"} 3
# HELP b_info Which one.
# TYPE b_info gauge
b_info{c=\"d\"} 1
# HELP e How much.
# TYPE e gauge
e 2
";
        assert_eq!(super::plain(openmetrics), plain);
    }
}
