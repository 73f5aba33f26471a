//! From a tree and data to text.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Escape, Fault, Value,
    functions::{self, Wrong},
    parse::{Node, Operand, Pipe},
};

/// Nodes and commands that one rendering may take.
const MOST_STEPS: usize = 500_000;
/// Templates that use each other at most.
const MOST_DEEP: usize = 32;

type Defined = BTreeMap<String, Arc<[Node]>>;

/// Renders `body` over `dot`.
pub(super) fn render(
    body: &[Node],
    defined: &Defined,
    dot: &Value,
    variables: &[(&str, Value)],
    escape: Escape,
    most: usize,
) -> Result<String, Fault> {
    let mut scope: Vec<(String, Value)> = variables.iter().map(|(name, v)| ((*name).to_owned(), v.clone())).collect();
    scope.push(("$".to_owned(), dot.clone()));
    let mut run = Run { defined, escape, most, out: String::new(), steps: 0, deep: 0, scope, line: 1 };
    match run.nodes(body, dot) {
        Ok(()) => Ok(run.out),
        Err(Wrong { message, depends_on_data }) => Err(Fault { line: run.line, message, depends_on_data }),
    }
}

struct Run<'a> {
    defined: &'a Defined,
    escape: Escape,
    most: usize,
    out: String,
    steps: usize,
    deep: usize,
    scope: Vec<(String, Value)>,
    line: usize,
}

impl Run<'_> {
    fn step(&mut self) -> Result<(), Wrong> {
        self.steps += 1;
        if self.steps > MOST_STEPS {
            Err(Wrong::of_data(format!("takes more than {MOST_STEPS} steps")))
        } else {
            Ok(())
        }
    }

    fn write(&mut self, text: &str) -> Result<(), Wrong> {
        if self.out.len() + text.len() > self.most {
            return Err(Wrong::of_data(format!("makes more than {} bytes", self.most)));
        }
        self.out.push_str(text);
        Ok(())
    }

    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<(), Wrong> {
        for node in nodes {
            self.step()?;
            self.node(node, dot)?;
        }
        Ok(())
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<(), Wrong> {
        let known = self.scope.len();
        match node {
            Node::Text(text) => self.write(text),
            Node::Action(pipe) => {
                let value = self.pipe(pipe, dot)?;
                if !pipe.variables.is_empty() {
                    return Ok(());
                }
                let printed = value.printed();
                let is_safe = matches!(value, Value::Safe(_));
                let written = if is_safe { printed } else { (self.escape)(&self.out, &printed) };
                self.write(&written)
            }
            Node::If { condition, body, other } => {
                let holds = self.pipe(condition, dot)?.is_true();
                self.nodes(if holds { body } else { other }, dot)?;
                self.scope.truncate(known);
                Ok(())
            }
            Node::With { value, body, other } => {
                let value = self.pipe(value, dot)?;
                if value.is_true() {
                    self.nodes(body, &value)?
                } else {
                    self.nodes(other, dot)?
                }
                self.scope.truncate(known);
                Ok(())
            }
            Node::Range { list, body, other } => self.range(list, body, other, dot),
            Node::Template { name, value, line } => self.template(name, value.as_ref(), *line, dot),
        }
    }

    fn range(&mut self, list: &Pipe, body: &[Node], other: &[Node], dot: &Value) -> Result<(), Wrong> {
        let known = self.scope.len();
        let value = self.result(list, dot)?;
        let elements: Vec<(Value, Value)> = match &value {
            Value::List(list) => (0..).map(Value::Int).zip(list.iter().cloned()).collect(),
            Value::Map(map) => map.iter().map(|(name, value)| (Value::text(name), value.clone())).collect(),
            Value::Nothing => Vec::new(),
            value => return Err(Wrong::always(format!("range cannot go over {}", value.kind()))),
        };
        if elements.is_empty() {
            return self.nodes(other, dot);
        }
        for (key, element) in elements {
            let bound = match list.variables.as_slice() {
                [] => vec![],
                [one] => vec![(one, element.clone())],
                [first, second, ..] => vec![(first, key), (second, element.clone())],
            };
            for (name, value) in bound {
                self.bind(name, value, list.declares)?;
            }
            self.nodes(body, &element)?;
            self.scope.truncate(known);
        }
        Ok(())
    }

    fn template(&mut self, name: &str, value: Option<&Pipe>, line: usize, dot: &Value) -> Result<(), Wrong> {
        self.line = line;
        let inner = match value {
            Some(pipe) => self.pipe(pipe, dot)?,
            None => Value::Nothing,
        };
        let Some(body) = self.defined.get(name) else {
            return Err(Wrong::always(format!("there is no template {name:?}")));
        };
        self.deep += 1;
        if self.deep > MOST_DEEP {
            return Err(Wrong::of_data(format!("more than {MOST_DEEP} templates use each other")));
        }
        let outside = std::mem::replace(&mut self.scope, vec![("$".to_owned(), inner.clone())]);
        self.nodes(body, &inner)?;
        self.scope = outside;
        self.deep -= 1;
        Ok(())
    }

    fn bind(&mut self, name: &str, value: Value, declares: bool) -> Result<(), Wrong> {
        if declares {
            self.scope.push((name.to_owned(), value));
            return Ok(());
        }
        let known = self.scope.iter_mut().rev().find(|(known, _)| known == name);
        let known = known.ok_or_else(|| Wrong::always(format!("there is no variable {name}")))?;
        known.1 = value;
        Ok(())
    }

    /// The result of a pipeline, which its variables get.
    fn pipe(&mut self, pipe: &Pipe, dot: &Value) -> Result<Value, Wrong> {
        let value = self.result(pipe, dot)?;
        for name in &pipe.variables {
            self.bind(name, value.clone(), pipe.declares)?;
        }
        Ok(value)
    }

    fn result(&mut self, pipe: &Pipe, dot: &Value) -> Result<Value, Wrong> {
        self.line = pipe.line;
        let mut piped = None;
        for command in &pipe.commands {
            self.step()?;
            piped = Some(self.command(command, piped, dot)?);
        }
        Ok(piped.unwrap_or(Value::Nothing))
    }

    fn command(&mut self, command: &[Operand], piped: Option<Value>, dot: &Value) -> Result<Value, Wrong> {
        let Some((first, rest)) = command.split_first() else { return Ok(Value::Nothing) };
        if let Operand::Function(name @ ("and" | "or")) = first {
            return self.junction(*name == "and", rest, piped, dot);
        }
        let mut arguments = Vec::with_capacity(rest.len() + 1);
        for operand in rest {
            arguments.push(self.operand(operand, &[], dot)?);
        }
        arguments.extend(piped);
        let value = match first {
            Operand::Function(name) => functions::call(name, &arguments, self.most)?,
            operand => return self.operand(operand, &arguments, dot),
        };
        // What functions make is as bounded as what is written.
        match value.as_text() {
            Some(text) if text.len() > self.most => Err(Wrong::of_data(format!("makes more than {} bytes", self.most))),
            _ => Ok(value),
        }
    }

    /// `and` and `or`, which look no further than they have to.
    fn junction(
        &mut self,
        wants: bool,
        operands: &[Operand],
        piped: Option<Value>,
        dot: &Value,
    ) -> Result<Value, Wrong> {
        let mut last = None;
        for operand in operands {
            let value = self.operand(operand, &[], dot)?;
            if value.is_true() != wants {
                return Ok(value);
            }
            last = Some(value);
        }
        piped.or(last).ok_or_else(|| Wrong::always("`and` and `or` expect arguments".to_owned()))
    }

    /// What an operand is; `arguments` are for its last field.
    fn operand(&mut self, operand: &Operand, arguments: &[Value], dot: &Value) -> Result<Value, Wrong> {
        let (value, fields) = match operand {
            Operand::Literal(value) => (value.clone(), &[][..]),
            Operand::Dot(fields) => (dot.clone(), &fields[..]),
            Operand::Variable(name, fields) => {
                let known = self.scope.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.clone());
                (known.ok_or_else(|| Wrong::always(format!("there is no variable {name}")))?, &fields[..])
            }
            Operand::Function(name) => (functions::call(name, &[], self.most)?, &[][..]),
            Operand::Group(pipe, fields) => (self.pipe(pipe, dot)?, &fields[..]),
        };
        let Some((last, before)) = fields.split_last() else {
            return if arguments.is_empty() {
                Ok(value)
            } else {
                Err(Wrong::always(format!("{} takes no arguments", value.kind())))
            };
        };
        let mut value = value;
        for name in before {
            value = functions::field(&value, name, &[])?;
        }
        self.step()?;
        functions::field(&value, last, arguments)
    }
}
