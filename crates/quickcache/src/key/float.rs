//! A float as Python's `repr` prints it.

use std::fmt::{self, Write};

/// Appends `value` as Python prints it: the shortest digits that read back as the same float, an exponent below
/// `1e-4` and from `1e16` on, and a `.0` where nothing else shows that it is no integer.
pub(super) fn write_repr(out: &mut String, value: f64) {
    if value.is_nan() {
        // Python prints neither sign nor payload.
        out.push_str("nan");
        return;
    }
    if value.is_sign_negative() {
        out.push('-');
    }
    if value.is_infinite() {
        out.push_str("inf");
        return;
    }
    // Rust's own exponent form has the same shortest digits (Grisu, then Dragon4), but of two that are equally near
    // it takes the upper, Python the even one: 2^-25 ends in 13 by the former and in 12 by the latter. Rounding to the same number
    // of digits is done to even. Below 15 digits no two can be equally near.
    let mut text = Scratch::new();
    let _ = write!(text, "{:e}", value.abs());
    let digits = text.split().0.len() - 1;
    if digits >= 15 {
        let mut rounded = Scratch::new();
        let _ = write!(rounded, "{:.*e}", digits - 1, value.abs());
        if rounded.as_str().parse() == Ok(value.abs()) {
            text = rounded;
        }
    }
    let (mantissa, exponent) = text.split();
    let (head, tail) = (&mantissa[..1], mantissa.get(2..).unwrap_or(""));
    match exponent {
        0..16 => {
            let whole = exponent as usize;
            out.push_str(head);
            if tail.len() > whole {
                out.push_str(&tail[..whole]);
                out.push('.');
                out.push_str(&tail[whole..]);
            } else {
                out.push_str(tail);
                push_zeros(out, whole - tail.len());
                out.push_str(".0");
            }
        }
        -4..0 => {
            out.push_str("0.");
            push_zeros(out, exponent.unsigned_abs() as usize - 1);
            out.push_str(head);
            out.push_str(tail);
        }
        _ => {
            out.push_str(head);
            if !tail.is_empty() {
                out.push('.');
                out.push_str(tail);
            }
            let _ = write!(out, "e{exponent:+03}");
        }
    }
}

fn push_zeros(out: &mut String, count: usize) {
    out.extend(std::iter::repeat_n('0', count));
}

/// The longest text is that of 17 digits, a point and `e-308`: 23 bytes.
struct Scratch {
    bytes: [u8; 32],
    len: usize,
}

impl Scratch {
    const fn new() -> Self {
        Self {
            bytes: [0; 32],
            len: 0,
        }
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or("")
    }

    /// Digits (`d` or `d.ddd`) and exponent.
    fn split(&self) -> (&str, i32) {
        self.as_str()
            .split_once('e')
            .and_then(|(digits, exponent)| Some((digits, exponent.parse().ok()?)))
            .unwrap_or(("0", 0))
    }
}

impl Write for Scratch {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len + text.len();
        self.bytes
            .get_mut(self.len..end)
            .ok_or(fmt::Error)?
            .copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}
