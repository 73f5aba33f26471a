//! From text to a tree.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Fault, MAX_TEXT, functions,
    lex::{self, Token},
};

/// Actions within actions at most, and parentheses within parentheses.
const MOST_NESTED: usize = 50;

/// A part of a template.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Text(Arc<str>),
    Action(Pipe),
    If { condition: Pipe, body: Arc<[Node]>, other: Arc<[Node]> },
    With { value: Pipe, body: Arc<[Node]>, other: Arc<[Node]> },
    Range { list: Pipe, body: Arc<[Node]>, other: Arc<[Node]> },
    Template { name: String, value: Option<Pipe>, line: usize },
}

/// Commands, each of which has the result of the one before as its last argument.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pipe {
    /// Variables that get the result; of a range perhaps the key and the element.
    pub(super) variables: Vec<String>,
    /// Whether the variables are new.
    pub(super) declares: bool,
    pub(super) commands: Vec<Vec<Operand>>,
    pub(super) line: usize,
}

/// A word of a command.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Operand {
    Literal(super::Value),
    /// `.`, with fields.
    Dot(Vec<String>),
    Variable(String, Vec<String>),
    Function(&'static str),
    Group(Box<Pipe>, Vec<String>),
}

/// What a text says.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) body: Arc<[Node]>,
    pub(super) defined: BTreeMap<String, Arc<[Node]>>,
}

/// Reads `text`, in which `variables` are known.
pub(super) fn parse(text: &str, variables: &[&str]) -> Result<Parsed, Fault> {
    let mut variables: Vec<String> = variables.iter().map(|&name| name.to_owned()).collect();
    variables.push("$".to_owned());
    let (at, line, defined) = (0, 1, BTreeMap::new());
    let mut parser = Parser { text, at, line, trims: false, nested: 0, variables, defined };
    if text.len() > MAX_TEXT {
        return Err(parser.fault(format!("has {} bytes; expected at most {MAX_TEXT}", text.len())));
    }
    let (body, end) = parser.nodes()?;
    match end {
        Stop::Text => Ok(Parsed { body, defined: parser.defined }),
        Stop::End | Stop::Else(_) => Err(parser.fault("`end` or `else` without a beginning")),
    }
}

/// Names of the templates that `nodes` use, with their lines.
pub(super) fn used(nodes: &[Node]) -> Vec<(&str, usize)> {
    let mut found = Vec::new();
    for node in nodes {
        match node {
            Node::Text(_) | Node::Action(_) => {}
            Node::If { body, other, .. } | Node::With { body, other, .. } | Node::Range { body, other, .. } => {
                found.extend(used(body));
                found.extend(used(other));
            }
            Node::Template { name, line, .. } => found.push((name.as_str(), *line)),
        }
    }
    found
}

/// What a sequence of nodes ended with.
enum Stop {
    Text,
    End,
    /// With what follows, as in `else if`.
    Else(Vec<Token>),
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    /// Where the action is that is being read.
    line: usize,
    trims: bool,
    nested: usize,
    variables: Vec<String>,
    defined: BTreeMap<String, Arc<[Node]>>,
}

impl Parser<'_> {
    fn fault(&self, message: impl Into<String>) -> Fault {
        Fault { line: self.line, message: message.into(), depends_on_data: false }
    }

    /// Everything up to an `end` or `else` that belongs to what is around it.
    fn nodes(&mut self) -> Result<(Arc<[Node]>, Stop), Fault> {
        let mut nodes = Vec::new();
        while let Some(tokens) = self.next_action(&mut nodes)? {
            let (word, rest) = match tokens.split_first() {
                None => continue,
                Some((Token::Word(word), rest)) => (word.as_str(), rest),
                Some(_) => ("", &tokens[..]),
            };
            match word {
                "end" => return Ok((nodes.into(), Stop::End)),
                "else" => return Ok((nodes.into(), Stop::Else(rest.to_vec()))),
                "if" | "with" | "range" => nodes.push(self.block(word, rest)?),
                "define" | "block" => nodes.extend(self.define(word, rest)?),
                "template" => {
                    let (name, value) = self.named(rest)?;
                    nodes.push(Node::Template { name, value, line: self.line });
                }
                "break" | "continue" => return Err(self.fault(format!("`{word}` is not supported"))),
                _ => nodes.push(Node::Action(self.pipe(&tokens)?)),
            }
        }
        Ok((nodes.into(), Stop::Text))
    }

    /// The text up to the next action, and the words of that; `None` at the end.
    fn next_action(&mut self, nodes: &mut Vec<Node>) -> Result<Option<Vec<Token>>, Fault> {
        let rest = &self.text[self.at..];
        let open = rest.find("{{");
        let mut text = &rest[..open.unwrap_or(rest.len())];
        if self.trims {
            text = text.trim_start();
        }
        let inside = open.map(|open| &rest[open + 2..]);
        let trims_before = inside.is_some_and(|i| i.starts_with('-') && i[1..].starts_with(char::is_whitespace));
        if trims_before {
            text = text.trim_end();
        }
        if !text.is_empty() {
            nodes.push(Node::Text(text.into()));
        }
        let (Some(open), Some(inside)) = (open, inside) else {
            self.at = self.text.len();
            return Ok(None);
        };
        self.line = 1 + self.text[..self.at + open].matches('\n').count();
        let skipped = usize::from(trims_before);
        let action = lex::action(&inside[skipped..]).map_err(|message| self.fault(message))?;
        self.at += open + 2 + skipped + action.length;
        self.trims = action.trims;
        Ok(Some(action.tokens))
    }

    fn enter(&mut self) -> Result<usize, Fault> {
        self.nested += 1;
        if self.nested > MOST_NESTED {
            return Err(self.fault(format!("expected at most {MOST_NESTED} actions within each other")));
        }
        Ok(self.variables.len())
    }

    fn leave(&mut self, known: usize) {
        self.nested -= 1;
        self.variables.truncate(known);
    }

    fn block(&mut self, word: &str, tokens: &[Token]) -> Result<Node, Fault> {
        let known = self.enter()?;
        let began = self.line;
        let pipe = self.pipe(tokens)?;
        if word != "range" && pipe.variables.len() > 1 {
            return Err(self.fault("expected at most one variable"));
        }
        let (body, end) = self.nodes()?;
        let other: Arc<[Node]> = match end {
            Stop::End => Arc::new([]),
            Stop::Else(rest) => match rest.split_first() {
                None => {
                    let (other, end) = self.nodes()?;
                    if !matches!(end, Stop::End) {
                        return Err(self.unended(word, began));
                    }
                    other
                }
                // Whose `end` is that of the whole.
                Some((Token::Word(next), rest)) if next == word && word != "range" => [self.block(word, rest)?].into(),
                Some(_) => return Err(self.fault("unexpected words behind `else`")),
            },
            Stop::Text => return Err(self.unended(word, began)),
        };
        self.leave(known);
        Ok(match word {
            "if" => Node::If { condition: pipe, body, other },
            "with" => Node::With { value: pipe, body, other },
            _ => Node::Range { list: pipe, body, other },
        })
    }

    fn unended(&self, word: &str, began: usize) -> Fault {
        Fault { line: began, ..self.fault(format!("`{word}` without `end`")) }
    }

    /// `define`, which is nothing where it stands, or `block`, which is used where it stands.
    fn define(&mut self, word: &str, tokens: &[Token]) -> Result<Option<Node>, Fault> {
        let began = self.line;
        let (name, value) = self.named(tokens)?;
        let outside = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let known = self.enter()?;
        let (body, end) = self.nodes()?;
        self.leave(known);
        self.variables = outside;
        if !matches!(end, Stop::End) {
            return Err(self.unended(word, began));
        }
        self.defined.insert(name.clone(), body);
        Ok((word == "block").then_some(Node::Template { name, value, line: began }))
    }

    /// A name, and what it is given.
    fn named(&mut self, tokens: &[Token]) -> Result<(String, Option<Pipe>), Fault> {
        match tokens.split_first() {
            Some((Token::Text(name), [])) => Ok((name.clone(), None)),
            Some((Token::Text(name), rest)) => Ok((name.clone(), Some(self.pipe(rest)?))),
            _ => Err(self.fault("expected the name of a template in quotes")),
        }
    }

    fn pipe(&mut self, tokens: &[Token]) -> Result<Pipe, Fault> {
        let (variables, declares, rest) = match tokens {
            [Token::Variable(a), Token::Comma, Token::Variable(b), Token::Declare, rest @ ..] => {
                (vec![a.clone(), b.clone()], true, rest)
            }
            [Token::Variable(a), Token::Declare, rest @ ..] => (vec![a.clone()], true, rest),
            [Token::Variable(a), Token::Assign, rest @ ..] => (vec![a.clone()], false, rest),
            rest => (Vec::new(), false, rest),
        };
        let (commands, left) = self.commands(rest)?;
        if !left.is_empty() {
            return Err(self.fault("`)` without `(`"));
        }
        for name in variables.iter().filter(|_| !declares) {
            self.knows(name)?;
        }
        if declares {
            self.variables.extend(variables.iter().cloned());
        }
        Ok(Pipe { variables, declares, commands, line: self.line })
    }

    fn knows(&self, name: &String) -> Result<(), Fault> {
        if self.variables.contains(name) { Ok(()) } else { Err(self.fault(format!("there is no variable {name}"))) }
    }

    /// Commands up to the end or a `)`, which is left.
    fn commands<'t>(&mut self, mut tokens: &'t [Token]) -> Result<(Vec<Vec<Operand>>, &'t [Token]), Fault> {
        let (mut commands, mut command) = (Vec::new(), Vec::new());
        loop {
            match tokens.split_first() {
                Some((Token::Pipe, rest)) => {
                    commands.push(self.checked(std::mem::take(&mut command), commands.is_empty())?);
                    tokens = rest;
                }
                None | Some((Token::Close, _)) => {
                    commands.push(self.checked(command, commands.is_empty())?);
                    return Ok((commands, tokens));
                }
                Some((first, rest)) => tokens = self.operand(first, rest, &mut command)?,
            }
        }
    }

    fn checked(&self, command: Vec<Operand>, is_first: bool) -> Result<Vec<Operand>, Fault> {
        let Some(first) = command.first() else { return Err(self.fault("an action without a value")) };
        if !is_first && matches!(first, Operand::Literal(_)) {
            return Err(self.fault("expected a function behind `|`"));
        }
        if command.len() > 1 && matches!(first, Operand::Literal(_)) {
            return Err(self.fault("expected a function before its arguments"));
        }
        Ok(command)
    }

    /// Appends the operand that begins with `first`, or lengthens the last one; what is left.
    fn operand<'t>(
        &mut self,
        first: &Token,
        rest: &'t [Token],
        command: &mut Vec<Operand>,
    ) -> Result<&'t [Token], Fault> {
        use super::Value;
        let operand = match first {
            Token::Field(name, true) => {
                let last = command.last_mut();
                let Some(Operand::Dot(fields) | Operand::Variable(_, fields) | Operand::Group(_, fields)) = last else {
                    return Err(self.fault(format!("unexpected .{name}")));
                };
                fields.push(name.clone());
                return Ok(rest);
            }
            Token::Field(name, false) => Operand::Dot(vec![name.clone()]),
            Token::Dot => Operand::Dot(Vec::new()),
            Token::Variable(name) => {
                self.knows(name)?;
                Operand::Variable(name.clone(), Vec::new())
            }
            Token::Text(text) => Operand::Literal(Value::text(text)),
            Token::Int(value) => Operand::Literal(Value::Int(*value)),
            Token::Number(value) => Operand::Literal(Value::Number(*value)),
            Token::Word(word) => match word.as_str() {
                "true" | "false" => Operand::Literal(Value::Bool(word == "true")),
                "nil" => Operand::Literal(Value::Nothing),
                word => match functions::known(word) {
                    Some(function) => Operand::Function(function),
                    None => return Err(self.fault(format!("the function {word} is not supported"))),
                },
            },
            Token::Open => {
                self.enter()?;
                let (commands, left) = self.commands(rest)?;
                self.nested -= 1;
                let Some((Token::Close, left)) = left.split_first() else {
                    return Err(self.fault("`(` without `)`"));
                };
                let pipe = Pipe { variables: Vec::new(), declares: false, commands, line: self.line };
                command.push(Operand::Group(Box::new(pipe), Vec::new()));
                return Ok(left);
            }
            Token::Close | Token::Pipe | Token::Declare | Token::Assign | Token::Comma => {
                return Err(self.fault("unexpected `:=`, `=` or `,`"));
            }
        };
        command.push(operand);
        Ok(rest)
    }
}
