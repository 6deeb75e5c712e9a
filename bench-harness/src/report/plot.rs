//! A plot of quantiles as inline SVG: how long an acknowledgement takes (upwards, logarithmic) for which share of the messages
//! (rightwards, each step a tenth of what is left, so that the tail can be seen).

use std::fmt::Write;

/// One line: its name, and (quantile below 1, milliseconds) points, ascending.
#[derive(Debug, Clone)]
pub struct Line {
    /// Name.
    pub name: String,
    /// Points.
    pub points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 60.0;
const BOTTOM: f64 = 40.0;
const TOP: f64 = 16.0;
/// Room for the names on the right.
const RIGHT: f64 = 150.0;
/// Colours that people who confuse red and green tell apart.
const COLOURS: [&str; 7] = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#000000"];
const TICKS: [(f64, &str); 6] =
    [(0.0, "0"), (0.5, "50 %"), (0.9, "90 %"), (0.99, "99 %"), (0.999, "99.9 %"), (0.9999, "99.99 %")];

/// Draws the lines; nothing where there is no point.
pub fn svg(lines: &[Line]) -> String {
    let values = || lines.iter().flat_map(|line| line.points.iter().map(|(_, ms)| ms.max(0.001)));
    let (least, most) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
    if most <= 0.0 {
        return String::new();
    }
    let (low, high) = (least.log10().floor(), most.log10().ceil().max(least.log10().floor() + 1.0));
    let x = |quantile: f64| LEFT + nines(quantile) / nines(0.9999) * (WIDTH - LEFT - RIGHT);
    let y = |ms: f64| TOP + (high - ms.max(0.001).log10()) / (high - low) * (HEIGHT - TOP - BOTTOM);
    let mut out = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" font-size=\"11\">\n");
    for (quantile, text) in TICKS {
        let at = x(quantile);
        let foot = HEIGHT - BOTTOM;
        let _ = writeln!(out, "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{foot}\" stroke=\"#ddd\"/>");
        let _ = writeln!(out, "<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{text}</text>", foot + 16.0);
    }
    for decade in low as i32..=high as i32 {
        let (ms, right) = (10_f64.powi(decade), WIDTH - RIGHT);
        let at = y(ms);
        let _ = writeln!(out, "<line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>");
        let _ = writeln!(out, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{ms} ms</text>", LEFT - 6.0, at + 4.0);
    }
    for (n, line) in lines.iter().enumerate() {
        let colour = COLOURS[n % COLOURS.len()];
        let points: Vec<String> = line.points.iter().map(|(q, ms)| format!("{:.1},{:.1}", x(*q), y(*ms))).collect();
        let path = points.join(" ");
        let _ = writeln!(out, "<polyline points=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>");
        let (at, name) = (TOP + 14.0 * (n as f64 + 1.0), escaped(&line.name));
        let _ = writeln!(out, "<text x=\"{}\" y=\"{at}\" fill=\"{colour}\">{name}</text>", WIDTH - RIGHT + 10.0);
    }
    out + "</svg>"
}

/// How many nines a quantile has: 0.9 one, 0.99 two.
fn nines(quantile: f64) -> f64 {
    -(1.0 - quantile.min(0.9999)).log10()
}

/// Text as HTML and SVG take it.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_lie_inside_and_names_are_escaped() {
        let line = Line { name: "<a>".to_owned(), points: vec![(0.1, 0.5), (0.5, 1.0), (0.9999, 90.0)] };
        let svg = svg(&[line]);
        assert!(svg.contains("&lt;a&gt;") && svg.contains("99.9 %") && !svg.contains("NaN"));
        let points = svg.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
        for point in points.split(' ') {
            let (x, y) = point.split_once(',').unwrap();
            let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
            assert!((LEFT..=WIDTH - RIGHT).contains(&x) && (TOP..=HEIGHT - BOTTOM).contains(&y), "{point}");
        }
        assert_eq!(super::svg(&[]), "");
    }
}
