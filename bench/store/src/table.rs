//! Tables as the notes want them: Markdown, numbers to the right, each row as soon as it is known.

pub struct Table {
    columns: usize,
}

impl Table {
    pub fn new(title: &str, head: &[&str]) -> Table {
        println!("\n## {title}\n\n| {} |", head.join(" | "));
        println!("|---|{}", "--:|".repeat(head.len() - 1));
        Table {
            columns: head.len(),
        }
    }

    pub fn row(&mut self, cells: Vec<String>) {
        assert_eq!(
            cells.len(),
            self.columns,
            "one cell for each column: {cells:?}"
        );
        println!("| {} |", cells.join(" | "));
    }
}

/// Three digits of microseconds.
pub fn micros(nanoseconds: u32) -> String {
    let us = f64::from(nanoseconds) / 1e3;
    match us {
        0.0..10.0 => format!("{us:.2}"),
        10.0..100.0 => format!("{us:.1}"),
        _ => format!("{us:.0}"),
    }
}

pub fn mib(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 20))
}
