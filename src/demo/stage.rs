//! Tells the story: numbered steps, what was expected, and whether it came so.

use std::io::{self, IsTerminal, Write};

/// Where the story is told.
#[derive(Debug)]
pub struct Stage<W> {
    out: W,
    colours: bool,
    step: usize,
    failures: usize,
}

impl Stage<io::Stdout> {
    /// The terminal; colours only where it is one.
    pub fn stdout() -> Self {
        let out = io::stdout();
        let colours = out.is_terminal();
        Self { out, colours, step: 0, failures: 0 }
    }
}

impl<W: Write> Stage<W> {
    /// Any other place, without colours.
    pub const fn plain(out: W) -> Self {
        Self { out, colours: false, step: 0, failures: 0 }
    }

    /// How many expectations were not met.
    pub const fn failures(&self) -> usize {
        self.failures
    }

    /// Begins a step.
    ///
    /// # Errors
    /// Where nothing can be written; the other methods likewise.
    pub fn step(&mut self, title: &str) -> io::Result<()> {
        self.step = self.step.saturating_add(1);
        let (bold, end) = self.paint("\x1b[1;36m");
        writeln!(self.out, "\n{bold}{:>2}. {title}{end}", self.step)
    }

    /// Explains.
    ///
    /// # Errors
    /// As [`Stage::step`].
    pub fn say(&mut self, text: &str) -> io::Result<()> {
        text.lines().try_for_each(|line| writeln!(self.out, "    {line}"))
    }

    /// Shows something under a caption.
    ///
    /// # Errors
    /// As [`Stage::step`].
    pub fn show(&mut self, caption: &str, text: &str) -> io::Result<()> {
        let (dim, end) = self.paint("\x1b[2m");
        writeln!(self.out, "    {dim}{caption}{end} {text}")
    }

    /// Says whether an expectation was met.
    ///
    /// # Errors
    /// As [`Stage::step`].
    pub fn expect(&mut self, what: &str, met: bool) -> io::Result<()> {
        let (mark, colour) = if met { ("ok", "\x1b[32m") } else { ("FAILED", "\x1b[1;31m") };
        if !met {
            self.failures = self.failures.saturating_add(1);
        }
        let (paint, end) = self.paint(colour);
        writeln!(self.out, "    {paint}{mark}{end}  {what}")
    }

    /// Writes text as it is, for lines to be copied.
    ///
    /// # Errors
    /// As [`Stage::step`].
    pub fn raw(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "{text}")
    }

    const fn paint(&self, colour: &'static str) -> (&'static str, &'static str) {
        if self.colours { (colour, "\x1b[0m") } else { ("", "") }
    }
}
