//! Text for whoever watches, by semihosting, without the formatter.

use cortex_m_semihosting::hio;

/// A line that is being written.
pub(crate) struct Line(Option<hio::HostStream>);

impl Line {
    pub(crate) fn new() -> Self {
        Self(hio::hstdout().ok())
    }

    pub(crate) fn text(mut self, text: &str) -> Self {
        if let Some(out) = &mut self.0
            && out.write_all(text.as_bytes()).is_err()
        {
            // Nobody watches.
            self.0 = None;
        }
        self
    }

    pub(crate) fn number(self, mut number: u64) -> Self {
        let mut digits = [0; 20];
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        self.text(core::str::from_utf8(&digits[at..]).unwrap_or("?"))
    }
}
