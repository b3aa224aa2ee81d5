//! From characters to tokens.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use core::ops::Range;

use super::Diagnostic;

/// A token with its place in the text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) span: Range<usize>,
}

/// What a token is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    /// A bare name.
    Name(String),
    /// A name in double quotes.
    Quoted(String),
    Keyword(Keyword),
    Int(i64),
    Float(f64),
    Text(String),
    Symbol(Symbol),
    /// The text ends here.
    End,
}

/// A word of the language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keyword {
    And,
    Between,
    Case,
    False,
    In,
    Is,
    Like,
    Not,
    Null,
    Or,
    True,
}

const KEYWORDS: [(&str, Keyword); 11] = [
    ("AND", Keyword::And),
    ("BETWEEN", Keyword::Between),
    ("CASE", Keyword::Case),
    ("FALSE", Keyword::False),
    ("IN", Keyword::In),
    ("IS", Keyword::Is),
    ("LIKE", Keyword::Like),
    ("NOT", Keyword::Not),
    ("NULL", Keyword::Null),
    ("OR", Keyword::Or),
    ("TRUE", Keyword::True),
];

/// A mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Symbol {
    OpenParen,
    CloseParen,
    OpenBracket,
    CloseBracket,
    Comma,
    Dot,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Plus,
    Minus,
    Star,
    Slash,
    Percent,
    Concatenate,
}

const SYMBOLS: [(&str, Symbol); 19] = [
    ("(", Symbol::OpenParen),
    (")", Symbol::CloseParen),
    ("[", Symbol::OpenBracket),
    ("]", Symbol::CloseBracket),
    (",", Symbol::Comma),
    (".", Symbol::Dot),
    ("=", Symbol::Equal),
    ("<>", Symbol::NotEqual),
    ("!=", Symbol::NotEqual),
    ("<", Symbol::Less),
    ("<=", Symbol::LessOrEqual),
    (">", Symbol::Greater),
    (">=", Symbol::GreaterOrEqual),
    ("+", Symbol::Plus),
    ("-", Symbol::Minus),
    ("*", Symbol::Star),
    ("/", Symbol::Slash),
    ("%", Symbol::Percent),
    ("||", Symbol::Concatenate),
];

/// What people write who come from other languages, and what SQL says instead.
const FOREIGN: [(&str, &str); 10] = [
    ("==", "use a single '='"),
    ("===", "use a single '='"),
    ("!==", "use '<>'"),
    ("&&", "use AND"),
    ("|", "use OR, or '||' to join text"),
    ("!", "use NOT"),
    (">>", "use a single '>'"),
    ("<<", "use a single '<'"),
    ("=>", "use '>='"),
    ("=<", "use '<='"),
];

/// The characters that operators are made of.
const OPERATOR_CHARS: &str = "=<>!|&~^";

/// Whether a word needs quotes to be a name.
pub(crate) fn is_keyword(word: &str) -> bool {
    keyword(word).is_some()
}

fn keyword(word: &str) -> Option<Keyword> {
    KEYWORDS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|(_, keyword)| *keyword)
}

/// Whether a name may stand without quotes.
pub(crate) fn is_bare_name(name: &str) -> bool {
    name.chars().next().is_some_and(begins_name)
        && name.chars().all(continues_name)
        && !is_keyword(name)
}

fn begins_name(c: char) -> bool {
    c == '_' || c.is_alphabetic()
}

fn continues_name(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// Reads tokens from the front of a text.
#[derive(Debug)]
pub(crate) struct Tokens<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Tokens<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        Self { text, at: 0 }
    }

    /// The next token; again and again `End` at the end.
    pub(crate) fn next(&mut self) -> Result<Token, Diagnostic> {
        self.skip_space();
        let start = self.at;
        let Some(c) = self.rest().chars().next() else {
            return Ok(Token { kind: Kind::End, span: start..start });
        };
        let kind = match c {
            '\'' => Kind::Text(self.quoted('\'', "R003", "this text has no closing quote (')")?),
            '"' => {
                let name = self.quoted('"', "R004", "this name has no closing quote (\")")?;
                Kind::Quoted(name)
            }
            c if c.is_ascii_digit() => self.number()?,
            c if begins_name(c) => {
                let word = self.take_while(continues_name);
                keyword(word).map_or_else(|| Kind::Name(word.to_owned()), Kind::Keyword)
            }
            _ => self.symbol(c)?,
        };
        Ok(Token { kind, span: start..self.at })
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let len = rest.find(|c| !wanted(c)).unwrap_or(rest.len());
        self.at += len;
        rest.get(..len).unwrap_or_default()
    }

    /// White space, and comments from `--` to the end of the line.
    fn skip_space(&mut self) {
        loop {
            self.take_while(char::is_whitespace);
            if !self.rest().starts_with("--") {
                return;
            }
            self.take_while(|c| c != '\n');
        }
    }

    /// What stands between two quotes; a doubled quote inside is one.
    fn quoted(
        &mut self,
        quote: char,
        code: &'static str,
        unclosed: &str,
    ) -> Result<String, Diagnostic> {
        let (start, mut text) = (self.at, String::new());
        loop {
            self.at += 1;
            text.push_str(self.take_while(|c| c != quote));
            if self.rest().is_empty() {
                let help = "a quote inside is written twice, as in 'it''s'";
                return Err(Diagnostic::new(code, start..self.at, unclosed).help(help));
            }
            self.at += 1;
            if !self.rest().starts_with(quote) {
                return Ok(text);
            }
            text.push(quote);
        }
    }

    fn number(&mut self) -> Result<Kind, Diagnostic> {
        let start = self.at;
        self.take_while(|c| c.is_ascii_digit());
        if self.rest().starts_with('.') {
            self.at += 1;
            self.take_while(|c| c.is_ascii_digit());
        }
        if self.rest().starts_with(['e', 'E']) {
            self.at += 1;
            if self.rest().starts_with(['+', '-']) {
                self.at += 1;
            }
        }
        self.take_while(continues_name);
        let text = self.text.get(start..self.at).unwrap_or_default();
        number(text).ok_or_else(|| {
            Diagnostic::new("R005", start..self.at, format!("'{text}' is not a number"))
                .help("numbers are written 70, 3.7 or 1.5e3; a name that begins with a digit stands in double quotes")
        })
    }

    fn symbol(&mut self, c: char) -> Result<Kind, Diagnostic> {
        let start = self.at;
        let written = if OPERATOR_CHARS.contains(c) {
            self.take_while(|c| OPERATOR_CHARS.contains(c))
        } else {
            self.at += c.len_utf8();
            self.text.get(start..self.at).unwrap_or_default()
        };
        if let Some((_, symbol)) = SYMBOLS.iter().find(|(text, _)| *text == written) {
            return Ok(Kind::Symbol(*symbol));
        }
        let span = start..self.at;
        if let Some((_, help)) = FOREIGN.iter().find(|(text, _)| *text == written) {
            return Err(not_an_operator(written, span).help(*help));
        }
        if OPERATOR_CHARS.contains(c) {
            return Err(not_an_operator(written, span));
        }
        let message = format!("'{c}' has no meaning here");
        Err(match c {
            '‘' | '’' | '‚' | '“' | '”' | '„' | '`' | '´' => {
                Diagnostic::new("R001", span, message)
                    .help("text stands in straight single quotes, as in 'ok'")
            }
            ';' => {
                Diagnostic::new("R001", span, message).help("an expression needs no ';' at its end")
            }
            '{' | '$' => Diagnostic::new("R001", span, message)
                .help("a field is written by its name, as in motor.temp or readings[0]"),
            _ => Diagnostic::new("R001", span, message),
        })
    }
}

fn not_an_operator(written: &str, span: Range<usize>) -> Diagnostic {
    Diagnostic::new("R002", span, format!("'{written}' is not an operator"))
}

/// The rule for payloads: an integer if it has neither point nor exponent and fits, else a float.
fn number(text: &str) -> Option<Kind> {
    let split = |text, at: &[char]| match str::split_once(text, at) {
        Some((before, behind)) => (before, Some(behind)),
        None => (text, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (mantissa, exponent) = split(text, &['e', 'E']);
    let (whole, fraction) = split(mantissa, &['.']);
    let exponent_digits = exponent.map(|text| text.strip_prefix(['+', '-']).unwrap_or(text));
    if !digits(whole) || !fraction.is_none_or(digits) || !exponent_digits.is_none_or(digits) {
        return None;
    }
    if let (None, None, Ok(value)) = (fraction, exponent, text.parse()) {
        return Some(Kind::Int(value));
    }
    text.parse().ok().filter(|value: &f64| value.is_finite()).map(Kind::Float)
}
