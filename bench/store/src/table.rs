//! Tables as the notes want them: Markdown, numbers to the right.

pub struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(head: &[&str]) -> Table {
        Table {
            head: head.iter().map(|&cell| cell.into()).collect(),
            rows: Vec::new(),
        }
    }

    pub fn row(&mut self, cells: Vec<String>) {
        assert_eq!(
            cells.len(),
            self.head.len(),
            "one cell for each column: {cells:?}"
        );
        self.rows.push(cells);
    }

    pub fn print(&self, title: &str) {
        println!("\n## {title}\n\n| {} |", self.head.join(" | "));
        println!("|---|{}", "--:|".repeat(self.head.len() - 1));
        for row in &self.rows {
            println!("| {} |", row.join(" | "));
        }
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
