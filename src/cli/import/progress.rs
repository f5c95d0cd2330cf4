//! How far an import has come, on one line of a terminal.

use std::time::{Duration, Instant};

/// How often the line is drawn.
const INTERVAL: Duration = Duration::from_millis(200);
/// Before that much time a rate says nothing.
const WARM_UP: Duration = Duration::from_secs(1);
/// Characters of the bar.
const WIDTH: u64 = 20;

/// Draws the line, now and then.
pub(super) struct Progress {
    began: Instant,
    drawn: Option<Instant>,
    /// Bytes of the input, where they are known.
    total: Option<u64>,
}

impl Progress {
    pub(super) fn new(total: Option<u64>) -> Self {
        Self { began: Instant::now(), drawn: None, total: total.filter(|total| *total > 0) }
    }

    /// The line to draw over the last one, if it is time for that.
    pub(super) fn line(&mut self, lines: u64, bytes: u64) -> Option<String> {
        if self.drawn.is_some_and(|drawn| drawn.elapsed() < INTERVAL) {
            return None;
        }
        self.drawn = Some(Instant::now());
        Some(format!("\r{}\x1b[K", describe(lines, bytes, self.total, self.began.elapsed())))
    }

    /// Wipes the line, where there is one.
    pub(super) fn wipe(&self) -> &'static str {
        if self.drawn.is_some() { "\r\x1b[K" } else { "" }
    }
}

fn describe(lines: u64, bytes: u64, total: Option<u64>, elapsed: Duration) -> String {
    let mut text = match total {
        None => String::new(),
        Some(total) => bar(bytes.min(total), total),
    };
    text.push_str(&format!("{lines} lines"));
    if elapsed < WARM_UP {
        return text;
    }
    text.push_str(&format!(", {:.0} a second", lines as f64 / elapsed.as_secs_f64()));
    if let Some(total) = total
        && bytes > 0
    {
        let left = elapsed.as_secs_f64() * total.saturating_sub(bytes) as f64 / bytes as f64;
        text.push_str(&format!(", {left:.0} s left"));
    }
    text
}

fn bar(bytes: u64, total: u64) -> String {
    let filled = u128::from(bytes) * u128::from(WIDTH) / u128::from(total);
    let filled = "#".repeat(filled as usize);
    let percent = u128::from(bytes) * 100 / u128::from(total);
    format!("[{filled:<width$}] {percent:>3} %  ", width = WIDTH as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_how_fast_and_how_long() {
        let ten = Duration::from_secs(10);
        assert_eq!(
            describe(500_000, 25, Some(100), ten),
            "[#####               ]  25 %  500000 lines, 50000 a second, 30 s left"
        );
        assert_eq!(describe(500_000, 25, None, ten), "500000 lines, 50000 a second");
        assert_eq!(
            describe(7, 300, Some(100), Duration::ZERO),
            "[####################] 100 %  7 lines"
        );
    }

    #[test]
    fn a_line_is_drawn_now_and_then_and_wiped_where_it_was_drawn() {
        let mut progress = Progress::new(None);
        assert_eq!(progress.wipe(), "");
        assert!(progress.line(1, 1).is_some());
        assert_eq!(progress.line(2, 2), None);
        assert_eq!(progress.wipe(), "\r\x1b[K");
    }
}
