//! From tokens to a tree, by the binding power of operators.
//!
//! Recursion is bounded: by `NESTING_MAX` for what
//! nests, by the number of binding powers between two levels of that.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::ops::Range;

use super::Diagnostic;
use super::functions;
use super::operators::{infix_power, operator, power};
use super::token::{Keyword, Kind as T, Symbol, Token, Tokens, is_bare_name};
use super::tree::{Id, Kind, Literal, Path, Step, Tree};
use crate::limits::{ARRAY_INDEX_MAX, NESTING_MAX, PATH_LEVELS_MAX, SOURCE_BYTES_MAX};
use crate::set::Op;

/// Parses a whole text.
pub(crate) fn parse(text: &str) -> Result<Tree, Diagnostic> {
    if text.len() > SOURCE_BYTES_MAX {
        let message = format!("an expression has at most {SOURCE_BYTES_MAX} bytes");
        return Err(Diagnostic::new("R006", 0..0, message));
    }
    let mut tokens = Tokens::new(text);
    let token = tokens.next()?;
    let mut parser =
        Parser { text, tokens, token, end: 0, previous: None, nesting: 0, tree: Tree::default() };
    parser.expression(power::OR)?;
    match parser.token.kind {
        T::End => Ok(parser.tree),
        _ => Err(parser.unexpected()),
    }
}

struct Parser<'t> {
    text: &'t str,
    tokens: Tokens<'t>,
    /// The next token.
    token: Token,
    /// Where the last token that was taken ends.
    end: usize,
    /// The last token that was taken, as it is written.
    previous: Option<&'t str>,
    nesting: usize,
    tree: Tree,
}

impl Parser<'_> {
    fn advance(&mut self) -> Result<Token, Diagnostic> {
        let next = self.tokens.next()?;
        let token = core::mem::replace(&mut self.token, next);
        self.end = token.span.end;
        self.previous = self.text.get(token.span.clone());
        Ok(token)
    }

    fn at_symbol(&self, symbol: Symbol) -> bool {
        self.token.kind == T::Symbol(symbol)
    }

    fn take_symbol(&mut self, symbol: Symbol) -> Result<bool, Diagnostic> {
        let found = self.at_symbol(symbol);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn take_keyword(&mut self, keyword: Keyword) -> Result<bool, Diagnostic> {
        let found = self.token.kind == T::Keyword(keyword);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    /// The next token as a person would say it.
    fn found(&self) -> String {
        match self.text.get(self.token.span.clone()) {
            None | Some("") => "the end".to_owned(),
            Some(text) => format!("'{text}'"),
        }
    }

    fn here(&self) -> Range<usize> {
        self.token.span.clone()
    }

    fn nested<R>(
        &mut self,
        inner: impl FnOnce(&mut Self) -> Result<R, Diagnostic>,
    ) -> Result<R, Diagnostic> {
        if self.nesting == NESTING_MAX {
            let message = format!("nested more than {NESTING_MAX} levels deep");
            return Err(Diagnostic::new("R015", self.here(), message));
        }
        self.nesting += 1;
        let result = inner(self);
        self.nesting -= 1;
        result
    }

    /// Operands joined by operators that bind at least as tightly as `least`.
    fn expression(&mut self, least: u8) -> Result<Id, Diagnostic> {
        let start = self.token.span.start;
        let mut left = self.prefix()?;
        let mut compared = false;
        while let Some(power) = infix_power(&self.token.kind).filter(|power| *power >= least) {
            if power == power::COMPARISON {
                if compared {
                    return Err(self.chained());
                }
                compared = true;
            }
            left = self.infix(start, left, power)?;
        }
        Ok(left)
    }

    fn infix(&mut self, start: usize, left: Id, power: u8) -> Result<Id, Diagnostic> {
        let negated = self.take_keyword(Keyword::Not)?;
        let kind = if let Some(op) = operator(&self.token.kind).filter(|_| !negated) {
            self.advance()?;
            let right = self.expression(power + 1)?;
            Kind::Binary(op, left, right)
        } else if self.take_keyword(Keyword::In)? {
            self.in_list(left, negated)?
        } else if self.take_keyword(Keyword::Between)? {
            self.between(left, negated)?
        } else if !negated && self.take_keyword(Keyword::Is)? {
            self.is_null(left)?
        } else if self.token.kind == T::Keyword(Keyword::Like) {
            return Err(unavailable(self.here(), "LIKE"));
        } else {
            let message = format!("expected IN or BETWEEN behind NOT, found {}", self.found());
            return Err(Diagnostic::new("R011", self.here(), message)
                .help("NOT stands before what it negates, as in NOT retained()"));
        };
        Ok(self.tree.push(kind, start..self.end))
    }

    fn is_null(&mut self, of: Id) -> Result<Kind, Diagnostic> {
        let negated = self.take_keyword(Keyword::Not)?;
        if !self.take_keyword(Keyword::Null)? {
            let message = format!("expected NULL behind IS, found {}", self.found());
            return Err(Diagnostic::new("R014", self.here(), message).help(
                "IS NULL and IS NOT NULL ask whether there is a value; compare values with =",
            ));
        }
        Ok(Kind::IsNull { of, negated })
    }

    fn in_list(&mut self, of: Id, negated: bool) -> Result<Kind, Diagnostic> {
        if !self.at_symbol(Symbol::OpenParen) {
            let message = format!("expected '(' behind IN, found {}", self.found());
            return Err(Diagnostic::new("R016", self.here(), message)
                .help("a list is written IN ('a', 'b')"));
        }
        let open = self.advance()?;
        let list = self.nested(|parser| parser.list(&open))?;
        Ok(Kind::In { of, list, negated })
    }

    fn between(&mut self, of: Id, negated: bool) -> Result<Kind, Diagnostic> {
        let low = self.expression(power::COMPARISON + 1)?;
        if !self.take_keyword(Keyword::And)? {
            let message = format!("expected AND, found {}", self.found());
            return Err(Diagnostic::new("R016", self.here(), message)
                .help("a range is written BETWEEN 10 AND 20"));
        }
        let high = self.expression(power::COMPARISON + 1)?;
        Ok(Kind::Between { of, low, high, negated })
    }

    /// At least one expression, up to the closing parenthesis.
    fn list(&mut self, open: &Token) -> Result<Vec<Id>, Diagnostic> {
        let mut list = Vec::new();
        loop {
            list.push(self.expression(power::OR)?);
            if !self.take_symbol(Symbol::Comma)? {
                self.close(open)?;
                return Ok(list);
            }
        }
    }

    fn close(&mut self, open: &Token) -> Result<(), Diagnostic> {
        if self.take_symbol(Symbol::CloseParen)? {
            return Ok(());
        }
        if self.token.kind == T::End {
            return Err(Diagnostic::new("R012", open.span.clone(), "this '(' is never closed")
                .help("add a ')'"));
        }
        Err(self.unexpected())
    }

    fn prefix(&mut self) -> Result<Id, Diagnostic> {
        let start = self.token.span.start;
        let kind = match self.token.kind.clone() {
            T::Keyword(Keyword::Not) => {
                self.advance()?;
                let of = self.nested(|parser| parser.expression(power::NOT))?;
                Kind::Unary(Op::Not, of)
            }
            T::Symbol(Symbol::Minus) => {
                self.advance()?;
                self.minus()?
            }
            T::Symbol(Symbol::OpenParen) => {
                let open = self.advance()?;
                let inner = self.nested(|parser| parser.expression(power::OR))?;
                self.close(&open)?;
                return Ok(inner);
            }
            T::Name(name) => {
                self.advance()?;
                if self.at_symbol(Symbol::OpenParen) {
                    self.call(&name, start..self.end)?
                } else {
                    Kind::Field { path: self.path(name)?, needless_quotes: false }
                }
            }
            T::Quoted(name) => {
                self.advance()?;
                let bare = is_bare_name(&name);
                let path = self.path(name)?;
                Kind::Field { needless_quotes: bare && path.len() == 1, path }
            }
            _ => Kind::Literal(self.literal()?),
        };
        Ok(self.tree.push(kind, start..self.end))
    }

    fn literal(&mut self) -> Result<Literal, Diagnostic> {
        let literal = match &self.token.kind {
            T::Int(value) => Literal::Int(*value),
            T::Float(value) => Literal::Float(*value),
            T::Text(text) => Literal::Text(text.clone()),
            T::Keyword(Keyword::Null) => Literal::Null,
            T::Keyword(Keyword::True) => Literal::Bool(true),
            T::Keyword(Keyword::False) => Literal::Bool(false),
            T::Keyword(Keyword::Case) => return Err(unavailable(self.here(), "CASE")),
            _ => return Err(self.no_value()),
        };
        self.advance()?;
        Ok(literal)
    }

    /// What follows a minus: the number of a literal, so that the smallest integer can be written.
    fn minus(&mut self) -> Result<Kind, Diagnostic> {
        let written = self.text.get(self.here()).unwrap_or_default();
        let negative = match self.token.kind {
            T::Int(value) => Literal::Int(-value),
            T::Float(value) => {
                format!("-{written}").parse().map_or(Literal::Float(-value), Literal::Int)
            }
            _ => {
                let of = self.nested(|parser| parser.expression(power::MINUS))?;
                return Ok(Kind::Unary(Op::Negate, of));
            }
        };
        self.advance()?;
        Ok(Kind::Literal(negative))
    }

    fn call(&mut self, name: &str, span: Range<usize>) -> Result<Kind, Diagnostic> {
        let Some(function) = functions::find(name) else {
            let error = Diagnostic::new("R020", span, format!("there is no function '{name}'"));
            return Err(match functions::similar(name) {
                Some(similar) => error.help(format!("did you mean {}?", similar.usage)),
                None => error,
            });
        };
        let open = self.advance()?;
        let arguments = if self.take_symbol(Symbol::CloseParen)? {
            Vec::new()
        } else {
            self.nested(|parser| parser.list(&open))?
        };
        let (least, most) = function.arguments;
        if arguments.len() < least || arguments.len() > most {
            let message = format!("wrong number of arguments: {}", arguments.len());
            return Err(Diagnostic::new("R021", span.start..self.end, message)
                .help(format!("it is written {}", function.usage)));
        }
        Ok(Kind::Call(function, arguments))
    }

    /// The steps behind the first name.
    fn path(&mut self, first: String) -> Result<Path, Diagnostic> {
        let start = self.end;
        let mut path = Path::from([Step::Key(first)]);
        loop {
            if self.take_symbol(Symbol::Dot)? {
                path.push(Step::Key(self.path_name()?));
            } else if self.take_symbol(Symbol::OpenBracket)? {
                path.push(Step::Index(self.path_index()?));
            } else {
                return Ok(path);
            }
            if path.len() > PATH_LEVELS_MAX {
                let message = format!("a path has at most {PATH_LEVELS_MAX} levels");
                return Err(Diagnostic::new("R018", start..self.end, message));
            }
        }
    }

    fn path_name(&mut self) -> Result<String, Diagnostic> {
        let written = self.text.get(self.here()).unwrap_or_default();
        let name = match &self.token.kind {
            T::Name(name) | T::Quoted(name) => name.clone(),
            T::Keyword(_) => written.to_owned(),
            _ => {
                let message = format!("expected a name behind '.', found {}", self.found());
                return Err(Diagnostic::new("R017", self.here(), message)
                    .help("elements of an array are written readings[0]"));
            }
        };
        self.advance()?;
        Ok(name)
    }

    fn path_index(&mut self) -> Result<u32, Diagnostic> {
        let index = match self.token.kind {
            T::Int(index) => u32::try_from(index).ok(),
            _ => None,
        };
        let Some(index) = index.filter(|index| *index as usize <= ARRAY_INDEX_MAX) else {
            let message = format!("expected the number of an element, found {}", self.found());
            return Err(Diagnostic::new("R017", self.here(), message)
                .help(format!("elements are counted from 0 to {ARRAY_INDEX_MAX}")));
        };
        self.advance()?;
        if !self.take_symbol(Symbol::CloseBracket)? {
            let message = format!("expected ']', found {}", self.found());
            return Err(Diagnostic::new("R017", self.here(), message));
        }
        Ok(index)
    }

    fn chained(&self) -> Diagnostic {
        Diagnostic::new("R013", self.here(), "comparisons cannot be chained")
            .help("write low < x AND x < high, x BETWEEN low AND high, or use parentheses")
    }

    fn no_value(&self) -> Diagnostic {
        let message = match (self.previous, &self.token.kind) {
            (None, T::End) => "the expression is empty".to_owned(),
            (Some(previous), T::End) => format!("the expression ends behind '{previous}'"),
            _ => format!("expected a value, found {}", self.found()),
        };
        Diagnostic::new("R010", self.here(), message).help(
            "a value is a field, a number, a text in single quotes, or a function".to_string(),
        )
    }

    fn unexpected(&self) -> Diagnostic {
        let message = format!("expected an operator, found {}", self.found());
        let error = Diagnostic::new("R011", self.here(), message);
        match (&self.token.kind, self.previous) {
            (T::Symbol(Symbol::CloseParen), _) => {
                Diagnostic::new("R012", self.here(), "this ')' was never opened")
            }
            (T::Text(_) | T::Int(_) | T::Float(_) | T::Name(_) | T::Quoted(_), Some(previous)) => {
                error.help(format!("a comparison or AND, OR is missing behind '{previous}'"))
            }
            _ => error,
        }
    }
}

fn unavailable(span: Range<usize>, word: &str) -> Diagnostic {
    Diagnostic::new("R019", span, format!("{word} is not available"))
        .help("texts: starts_with, ends_with, contains; first value that is not NULL: coalesce")
}
