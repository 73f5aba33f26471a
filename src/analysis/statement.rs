//! What a statement may be: one `SELECT` (with `WITH`, `UNION` and the like) over the tables that there are.
//!
//! Polars' SQL can also create, drop and empty tables, and may read files through functions that stand where a
//! table does. None of that gets past this.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
};

use sqlparser::{
    ast::{
        Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, Query, Select, SelectItem,
        Statement, TableAlias, TableFactor, Visit, Visitor,
    },
    dialect::GenericDialect,
    parser::{Parser, ParserOptions},
    tokenizer::{Token, Tokenizer},
};

use super::tables::{self, Table};

/// Columns by table.
type Needs = BTreeMap<String, Vec<String>>;

/// Checks `sql` and says which columns of which tables it may need: rather too many than too few.
///
/// # Errors
/// Why it is refused.
pub(super) fn needs(sql: &str) -> Result<Needs, String> {
    let options = ParserOptions { trailing_commas: true, ..ParserOptions::default() };
    let parser = Parser::new(&GenericDialect).with_options(options);
    let statements = parser.try_with_sql(sql).and_then(|mut parser| parser.parse_statements());
    let statements = statements.map_err(|error| error.to_string())?;
    let [statement] = &statements[..] else {
        return Err(format!("expected one statement, got {}", statements.len()));
    };
    if !matches!(statement, Statement::Query(_)) {
        let text = statement.to_string();
        let word = text.split_whitespace().next().unwrap_or_default();
        return Err(format!("expected a SELECT, got {}: the tables can only be read", word.to_uppercase()));
    }
    let mut seen = Seen::default();
    if let ControlFlow::Break(fault) = statement.visit(&mut seen) {
        return Err(fault);
    }
    let words = words(sql)?;
    // These mean columns that they do not name.
    let all = seen.all || ["natural", "columns"].into_iter().any(|word| words.contains(word));
    let mut needs = Needs::new();
    for name in seen.tables.difference(&seen.own) {
        let table = Table::named(name)
            .ok_or_else(|| format!("there is no table {:?}: expected one of {}", name.as_str(), tables::names()))?;
        let wanted = table.columns.iter().filter(|(column, _)| all || words.contains(*column));
        needs.insert(name.clone(), wanted.map(|(column, _)| (*column).to_owned()).collect());
    }
    Ok(needs)
}

/// What was met in a statement.
#[derive(Default)]
struct Seen {
    tables: BTreeSet<String>,
    /// Tables that the statement itself defines.
    own: BTreeSet<String>,
    /// Whether columns are meant without being named: by a `*`, or by their place.
    all: bool,
    statements: usize,
}

impl Seen {
    fn alias(&mut self, alias: Option<&TableAlias>) {
        self.all |= alias.is_some_and(|alias| !alias.columns.is_empty());
    }
}

impl Visitor for Seen {
    type Break = String;

    fn pre_visit_statement(&mut self, _: &Statement) -> ControlFlow<String> {
        self.statements += 1;
        if self.statements > 1 {
            return ControlFlow::Break(
                "expected a SELECT, got another statement in it: the tables can only be read".into(),
            );
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<String> {
        for table in query.with.iter().flat_map(|with| &with.cte_tables) {
            self.own.insert(table.alias.name.value.clone());
            self.alias(Some(&table.alias));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<String> {
        if select.into.is_some() {
            return ControlFlow::Break("SELECT INTO is not served: the tables can only be read".into());
        }
        let is_wildcard =
            |item: &SelectItem| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..));
        self.all |= select.projection.iter().any(is_wildcard);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<String> {
        self.all |= match expression {
            Expr::Wildcard(_) | Expr::QualifiedWildcard(..) => true,
            // That of `count(*)` means rows.
            Expr::Function(function) => {
                has_wildcard(function) && !function.name.to_string().eq_ignore_ascii_case("count")
            }
            _ => false,
        };
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, name: &ObjectName) -> ControlFlow<String> {
        let parts: Option<Vec<&Ident>> = name.0.iter().map(|part| part.as_ident()).collect();
        match parts.as_deref() {
            Some([name]) => {
                self.tables.insert(name.value.clone());
                ControlFlow::Continue(())
            }
            _ => ControlFlow::Break(format!("there is no table {name}: expected one of {}", tables::names())),
        }
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<String> {
        let refused =
            |name: &str| ControlFlow::Break(format!("{name} is not served: table functions are not, only tables are"));
        match factor {
            TableFactor::Table { name, args: Some(_), .. } | TableFactor::Function { name, .. } => {
                refused(&format!("{name}(...)"))
            }
            TableFactor::Table { alias, .. }
            | TableFactor::Derived { alias, .. }
            | TableFactor::NestedJoin { alias, .. }
            | TableFactor::UNNEST { alias, .. } => {
                self.alias(alias.as_ref());
                ControlFlow::Continue(())
            }
            other => refused(&other.to_string()),
        }
    }
}

/// The words of a statement: all names of columns are among them.
fn words(sql: &str) -> Result<BTreeSet<String>, String> {
    let tokens = Tokenizer::new(&GenericDialect, sql).tokenize().map_err(|error| error.to_string())?;
    let word = |token: Token| match token {
        Token::Word(word) => Some(word.value.to_ascii_lowercase()),
        _ => None,
    };
    Ok(tokens.into_iter().filter_map(word).collect())
}

/// Whether one of the arguments of a function is `*`.
fn has_wildcard(function: &Function) -> bool {
    let FunctionArguments::List(list) = &function.args else { return false };
    list.args.iter().any(|argument| {
        let (FunctionArg::Named { arg, .. } | FunctionArg::ExprNamed { arg, .. } | FunctionArg::Unnamed(arg)) =
            argument;
        !matches!(arg, FunctionArgExpr::Expr(_))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sql: &str, expected: &[(&str, &[&str])]) {
        let needs = needs(sql).expect(sql);
        let needs: Vec<(&str, Vec<&str>)> = needs
            .iter()
            .map(|(table, columns)| (table.as_str(), columns.iter().map(String::as_str).collect()))
            .collect();
        let expected: Vec<(&str, Vec<&str>)> = expected.iter().map(|(table, c)| (*table, c.to_vec())).collect();
        assert_eq!(needs, expected, "{sql}");
    }

    fn all(table: &str) -> Vec<&'static str> {
        Table::named(table).expect("is a table").columns.iter().map(|(name, _)| *name).collect()
    }

    #[test]
    fn only_the_columns_that_are_named_are_needed() {
        check("SELECT count(*) FROM spans", &[("spans", &[])]);
        check("SELECT service, 2 * avg(value) * 3 FROM metrics GROUP BY 1", &[("metrics", &["service", "value"])]);
        check("select Time from logs where body like '%attributes%'", &[("logs", &["time", "body"])]);
        check("SELECT \"name\" FROM spans s WHERE s.kind = 'x'", &[("spans", &["name", "kind"])]);
        check(
            "WITH a AS (SELECT name FROM metrics) SELECT 1 FROM a JOIN logs USING (service)",
            &[("logs", &["service"]), ("metrics", &["name", "service"])],
        );
        check("SELECT 1", &[]);
    }

    #[test]
    fn whatever_may_mean_all_columns_needs_all() {
        for sql in [
            "SELECT * FROM logs",
            "SELECT DISTINCT * FROM logs",
            "SELECT l.* FROM logs l",
            "SELECT time, * FROM logs",
            "SELECT * EXCLUDE (body) FROM logs",
            "SELECT DISTINCT ON (service) * FROM logs",
            "SELECT 1 FROM (SELECT * FROM logs) AS l",
            "SELECT first(*) FROM logs",
            "SELECT a FROM logs AS l (a, b)",
            "SELECT columns('t.*') FROM logs",
            "SELECT time FROM logs NATURAL JOIN logs",
            "SELECT time FROM spans UNION ALL SELECT * FROM logs",
        ] {
            let needs = needs(sql).expect(sql);
            assert_eq!(needs["logs"], all("logs"), "{sql}");
        }
    }

    #[test]
    fn all_but_one_select_over_the_tables_is_refused() {
        for (sql, expected) in [
            ("DROP TABLE metrics", "expected a SELECT, got DROP"),
            ("DELETE FROM metrics", "expected a SELECT, got DELETE"),
            ("TRUNCATE metrics", "expected a SELECT, got TRUNCATE"),
            ("INSERT INTO metrics VALUES (1)", "expected a SELECT, got INSERT"),
            ("CREATE TABLE a AS SELECT * FROM metrics", "expected a SELECT, got CREATE"),
            ("EXPLAIN SELECT 1", "expected a SELECT, got EXPLAIN"),
            ("SHOW TABLES", "expected a SELECT, got SHOW"),
            ("SELECT 1; SELECT 2", "expected one statement, got 2"),
            ("", "expected one statement, got 0"),
            ("SELECT * INTO a FROM metrics", "SELECT INTO is not served"),
            ("WITH a AS (SELECT 1) DELETE FROM metrics", "expected a SELECT, got another"),
            ("SELECT * FROM read_csv('/etc/passwd')", "read_csv(...) is not served"),
            ("SELECT * FROM metrics JOIN read_parquet('x') USING (time)", "read_parquet(...) is not served"),
            ("SELECT 1 WHERE 1 IN (SELECT a FROM read_json('x'))", "read_json(...) is not served"),
            ("SELECT * FROM TABLE(read_ipc('x'))", "is not served"),
            ("SELECT * FROM '/etc/passwd'", "there is no table \"/etc/passwd\""),
            ("SELECT * FROM public.metrics", "there is no table public.metrics"),
            ("SELECT * FROM metric", "there is no table \"metric\": expected one of metrics, spans, logs"),
            ("SELEC 1", "sql parser error"),
        ] {
            let error = needs(sql).expect_err(sql);
            assert!(error.contains(expected), "{sql}: {error}");
        }
    }
}
