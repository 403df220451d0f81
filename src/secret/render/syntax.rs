//! What of MiniJinja's language a template may use, looked at before anything runs.
//!
//! First the tokens are counted: the parser and the compiler recurse, for chains of operators without a limit of
//! their own, so the size of an expression is what keeps the stack. Then the syntax tree is walked.

use minijinja::{
    machinery::{
        Token,
        ast::{BinOpKind, CallArg, Expr, Slice, Stmt, UnaryOpKind},
        parse, tokenize,
    },
    syntax::SyntaxConfig,
};

use super::{MAX_DETAIL, filters, shorten};

/// The variables, in the order of the documentation.
const VARIABLES: [&str; 6] = ["access_token", "token_type", "issued_at", "expires_at", "region", "api_url"];

/// The variables that are numbers.
const NUMBERS: [&str; 2] = ["issued_at", "expires_at"];

/// The most tokens (names, literals, operators, brackets) between `{{` and `}}` or `{%` and `%}`.
const MAX_TOKENS: usize = 200;

/// The most brackets of any kind that stand in each other.
const MAX_DEPTH: usize = 24;

/// The most `if` and `elif` tags in a template: each `elif` is nested in the one before it.
const MAX_IFS: usize = 64;

/// The longest name that a message repeats, in characters.
const MAX_NAME: usize = 40;

/// The end of a message about a statement.
const ONLY: &str = "only expressions, if, elif, else, raw and comments may be used";

/// What is wrong with a template, and where.
#[derive(Debug)]
pub struct Fault {
    /// The line, from 1.
    pub line: Option<usize>,
    /// What is wrong. Made of the template's source, never of a value.
    pub cause: String,
}

impl Fault {
    fn new(line: impl Into<usize>, cause: impl Into<String>) -> Self {
        Self { line: Some(line.into()), cause: cause.into() }
    }
}

/// MiniJinja's syntax, but a final newline stays.
pub fn config() -> SyntaxConfig {
    let mut config = SyntaxConfig::builder();
    // Fails for delimiters only, and these are the usual ones.
    config.keep_trailing_newline(true).build().unwrap_or_default()
}

/// Refuses a template that does not parse, names what does not exist, or uses more than expressions, `if` and
/// filters.
pub fn check(source: &str) -> Result<(), Fault> {
    count(source)?;
    let tree = parse(source, "template", config()).map_err(|error| Fault {
        line: error.line(),
        cause: match error.detail() {
            Some(detail) if detail.starts_with("unknown statement") => {
                format!("{}: {}; {ONLY}", error.kind(), shorten(detail, MAX_DETAIL))
            }
            Some(detail) => format!("{}: {}", error.kind(), shorten(detail, MAX_DETAIL)),
            None => error.kind().to_string(),
        },
    })?;
    statement(&tree)
}

/// Refuses what could make the parser recurse too deep.
fn count(source: &str) -> Result<(), Fault> {
    let (mut tokens, mut depth, mut ifs) = (0, 0_usize, 0);
    let mut opens_block = false;
    // What is no token is left to the parser, which words the error.
    for (token, span) in tokenize(source, false, config()).map_while(Result::ok) {
        tokens += 1;
        match token {
            Token::TemplateData(_) | Token::VariableStart | Token::BlockStart => (tokens, depth) = (0, 0),
            Token::ParenOpen | Token::BracketOpen | Token::BraceOpen => depth += 1,
            Token::ParenClose | Token::BracketClose | Token::BraceClose => depth = depth.saturating_sub(1),
            Token::Ident("else" | "endif") => {}
            // Tags that the walk through the tree will refuse count as well.
            Token::Ident(_) if opens_block => ifs += 1,
            _ => {}
        }
        opens_block = matches!(token, Token::BlockStart);
        let too_much = if tokens > MAX_TOKENS {
            format!("an expression has over {MAX_TOKENS} parts: split or shorten it")
        } else if depth > MAX_DEPTH {
            format!("over {MAX_DEPTH} brackets stand in each other")
        } else if ifs > MAX_IFS {
            format!("there are over {MAX_IFS} if and elif tags")
        } else {
            continue;
        };
        return Err(Fault::new(span.start_line, too_much));
    }
    Ok(())
}

fn statements(list: &[Stmt<'_>]) -> Result<(), Fault> {
    list.iter().try_for_each(statement)
}

fn statement(node: &Stmt<'_>) -> Result<(), Fault> {
    let (what, span) = match node {
        Stmt::Template(template) => return statements(&template.children),
        Stmt::EmitRaw(_) => return Ok(()),
        Stmt::EmitExpr(emit) => return expression(&emit.expr),
        Stmt::IfCond(cond) => {
            expression(&cond.expr)?;
            statements(&cond.true_body)?;
            return statements(&cond.false_body);
        }
        Stmt::ForLoop(node) => ("a loop (for)", node.span()),
        Stmt::WithBlock(node) => ("an assignment (with)", node.span()),
        Stmt::Set(node) => ("an assignment (set)", node.span()),
        Stmt::SetBlock(node) => ("an assignment (set)", node.span()),
        Stmt::AutoEscape(node) => ("an autoescape block", node.span()),
        Stmt::FilterBlock(node) => ("a filter block; write {{ value | filter }}", node.span()),
        Stmt::Do(node) => ("a do statement", node.span()),
        // Macros, blocks, imports and the like are not even compiled in.
        #[allow(unreachable_patterns)]
        _ => return Err(Fault { line: None, cause: format!("holds a statement; {ONLY}") }),
    };
    Err(Fault::new(span.start_line, format!("holds {what}; {ONLY}")))
}

fn expressions<'a, 's: 'a>(list: impl IntoIterator<Item = &'a Expr<'s>>) -> Result<(), Fault> {
    list.into_iter().try_for_each(expression)
}

fn expression(node: &Expr<'_>) -> Result<(), Fault> {
    let line = node.span().start_line;
    match node {
        Expr::Const(_) => Ok(()),
        Expr::Var(var) => known("variable", var.id, &VARIABLES, line),
        Expr::UnaryOp(op) => expression(&op.expr),
        Expr::BinOp(op) => {
            if matches!(op.op, BinOpKind::Mul) && !(is_number(&op.left) && is_number(&op.right)) {
                return Err(Fault::new(
                    line,
                    "multiplies what may not be a number: only numbers can be multiplied, write value | int",
                ));
            }
            expressions([&op.left, &op.right])
        }
        Expr::Compare(compare) => {
            expression(&compare.expr)?;
            expressions(compare.ops.iter().map(|op| &op.expr))
        }
        Expr::IfExpr(cond) => {
            expressions([&cond.test_expr, &cond.true_expr])?;
            expressions(&cond.false_expr)
        }
        Expr::Filter(filter) => {
            known("filter", filter.name, &filters::FILTERS, line)?;
            expressions(&filter.expr)?;
            arguments(&filter.args)
        }
        Expr::Test(test) => {
            known("test", test.name, &filters::TESTS, line)?;
            expression(&test.expr)?;
            arguments(&test.args)
        }
        Expr::GetAttr(attribute) => expression(&attribute.expr),
        Expr::GetItem(item) => expressions([&item.expr, &item.subscript_expr]),
        Expr::Slice(slice) => {
            if !slice.step.as_ref().is_none_or(is_small_constant) {
                return Err(Fault::new(line, "the step of a slice must be a small number, as in [::-1]"));
            }
            slice_parts(slice)
        }
        Expr::List(list) => expressions(&list.items),
        Expr::Tuple(tuple) => expressions(&tuple.items),
        Expr::Map(map) => expressions(map.keys.iter().chain(&map.values)),
        Expr::Call(_) => {
            Err(Fault::new(line, "calls a function or method: there are only filters, as in value | upper"))
        }
    }
}

fn slice_parts(slice: &Slice<'_>) -> Result<(), Fault> {
    expression(&slice.expr)?;
    expressions([&slice.start, &slice.stop, &slice.step].into_iter().flatten())
}

fn arguments(list: &[CallArg<'_>]) -> Result<(), Fault> {
    list.iter().try_for_each(|argument| match argument {
        CallArg::Pos(value) | CallArg::Kwarg(_, value) => expression(value),
        CallArg::PosSplat(value) | CallArg::KwargSplat(value) => Err(Fault::new(
            value.span().start_line,
            "spreads a value over arguments (* or **): write each one",
        )),
    })
}

/// Refuses a name that is not among those there are.
fn known(what: &str, name: &str, there: &[&str], line: u16) -> Result<(), Fault> {
    if there.contains(&name) {
        return Ok(());
    }
    let name = shorten(name, MAX_NAME);
    Err(Fault::new(line, format!("unknown {what} \"{name}\"; there are {}", there.join(", "))))
}

/// Whether the value is a number, or an error, whatever the variables hold: `*` repeats texts and lists.
fn is_number(node: &Expr<'_>) -> bool {
    match node {
        Expr::Const(constant) => constant.value.is_number(),
        Expr::Var(var) => NUMBERS.contains(&var.id),
        Expr::UnaryOp(op) => matches!(op.op, UnaryOpKind::Neg) && is_number(&op.expr),
        Expr::BinOp(op) => match op.op {
            BinOpKind::Add | BinOpKind::Mul => is_number(&op.left) && is_number(&op.right),
            BinOpKind::Sub | BinOpKind::Div | BinOpKind::FloorDiv | BinOpKind::Rem | BinOpKind::Pow => true,
            _ => false,
        },
        Expr::Filter(filter) => filters::NUMERIC.contains(&filter.name) && filter.args.is_empty(),
        Expr::IfExpr(cond) => is_number(&cond.true_expr) && cond.false_expr.as_ref().is_some_and(is_number),
        _ => false,
    }
}

/// A number that is written out and small: the engine negates a step without looking.
fn is_small_constant(node: &Expr<'_>) -> bool {
    node.as_const().and_then(|value| i32::try_from(value).ok()).is_some_and(|step| step > i32::MIN)
}
