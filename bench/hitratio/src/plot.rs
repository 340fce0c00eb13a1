//! Draws the hit ratios as an SVG: one panel per workload, one line per cache, the capacity to the right. Its colours are readable
//! on light and on dark ground, and it needs nothing but a font.

use std::fmt::Write;

/// Hit ratios of one workload: a row per capacity, a column per cache.
pub struct Panel {
    pub title: String,
    pub rows: Vec<Vec<f64>>,
}

const COLOURS: [&str; 6] = [
    "#d9480f", "#1c7ed6", "#2f9e44", "#9c36b5", "#e0a100", "#868e96",
];
const DASHES: [&str; 6] = ["", "6 3", "2 3", "8 3 2 3", "4 4", "1 4"];
const COLUMNS: usize = 3;
const WIDTH: f64 = 320.0;
const HEIGHT: f64 = 250.0;
const LEFT: f64 = 44.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 34.0;

pub fn draw(names: &[&str], capacities: &[usize], panels: &[Panel]) -> String {
    let (rows, legend) = (panels.len().div_ceil(COLUMNS) as f64, 58.0);
    let (width, height) = (WIDTH * COLUMNS as f64, HEIGHT * rows + legend);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <title>Hit ratio in per cent by number of entries</title>\n\
         <style>text{{fill:#495057}}.grid{{stroke:#868e96;stroke-opacity:.35}}.line{{fill:none;stroke-width:1.6}}\n\
         @media(prefers-color-scheme:dark){{text{{fill:#ced4da}}}}</style>\n"
    );
    for (number, name) in names.iter().enumerate() {
        let (x, y) = (
            LEFT + (number % COLUMNS) as f64 * WIDTH,
            18.0 + (number / COLUMNS) as f64 * 20.0,
        );
        let _ = writeln!(
            svg,
            "<path class=\"line\" {} d=\"M{x} {y}h34\"/>",
            stroke(number)
        );
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\">{name}</text>",
            x + 42.0,
            y + 4.0
        );
    }
    for (number, panel) in panels.iter().enumerate() {
        let (x, y) = (
            (number % COLUMNS) as f64 * WIDTH,
            legend + (number / COLUMNS) as f64 * HEIGHT,
        );
        let _ = writeln!(svg, "<g transform=\"translate({x} {y})\">");
        draw_panel(&mut svg, capacities, panel);
        svg.push_str("</g>\n");
    }
    svg + "</svg>\n"
}

/// Ours comes first, solid and thick.
fn stroke(number: usize) -> String {
    let thick = if number == 0 {
        " stroke-width=\"3\" style=\"stroke-width:3\""
    } else {
        ""
    };
    format!(
        "stroke=\"{}\" stroke-dasharray=\"{}\"{thick}",
        COLOURS[number], DASHES[number]
    )
}

fn draw_panel(svg: &mut String, capacities: &[usize], panel: &Panel) {
    let all = || panel.rows.iter().flatten().copied();
    let step = if all().fold(0.0, f64::max) - all().fold(100.0, f64::min) > 50.0 {
        20.0
    } else {
        10.0
    };
    let low = (all().fold(100.0, f64::min) / step).floor() * step;
    let high = (all().fold(0.0, f64::max) / step).ceil() * step;
    let y = |ratio: f64| TOP + (HEIGHT - TOP - BOTTOM) * (high - ratio) / (high - low);
    // The distance between capacities is that of their logarithms.
    let log = |index: usize| (capacities[index] as f64).ln();
    let last = capacities.len() - 1;
    let x = |index: usize| {
        LEFT + 8.0 + (WIDTH - LEFT - RIGHT - 16.0) * (log(index) - log(0)) / (log(last) - log(0))
    };
    let _ = writeln!(
        svg,
        "<text x=\"{LEFT}\" y=\"22\" font-weight=\"bold\">{}</text>",
        panel.title
    );
    let mut tick = low;
    while tick <= high + 0.1 {
        let _ = writeln!(
            svg,
            "<path class=\"grid\" d=\"M{LEFT} {:.1}H{}\"/>",
            y(tick),
            WIDTH - RIGHT
        );
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{tick}</text>",
            LEFT - 6.0,
            y(tick) + 4.0
        );
        tick += step;
    }
    for (index, capacity) in capacities.iter().enumerate() {
        let label = format!("{}k", *capacity as f64 / 1_000.0);
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{label}</text>",
            x(index),
            HEIGHT - BOTTOM + 18.0
        );
    }
    // Ours last, to lie on top.
    for cache in (0..panel.rows[0].len()).rev() {
        let points =
            (0..=last).map(|index| format!("{:.1},{:.1}", x(index), y(panel.rows[index][cache])));
        let points = points.collect::<Vec<_>>().join(" ");
        let _ = writeln!(
            svg,
            "<polyline class=\"line\" {} points=\"{points}\"/>",
            stroke(cache)
        );
    }
}
