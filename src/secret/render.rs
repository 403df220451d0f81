//! The data of the target Secret: the default keys, or what a user's templates make of a token.
//!
//! Templates are MiniJinja's, cut down to expressions, `if` and filters (`syntax` and `filters` say what is
//! left). A name that is no variable is an error wherever it stands, in a branch that is not taken and before
//! `default` too; `default` is for a value that an item or attribute look-up does not find.
//!
//! Whoever may write a resource may write a template, so each is bounded: 8 KiB of text, a syntax tree too small
//! to overflow a stack, no loops or repetition, fuel for what the engine does and makes, and output that stops at
//! the limit of a Secret. Messages never hold a token or rendered text. What is returned is zeroed when dropped;
//! the copies that the engine makes while it renders are freed, not zeroed.

mod filters;
mod output;
mod syntax;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, Value, context};
use zeroize::Zeroizing;

use output::Output;

/// The most data that Kubernetes accepts in a Secret, in bytes; its keys do not count.
const MAX_DATA: usize = 1024 * 1024;

/// The most templates that a resource may have.
const MAX_TEMPLATES: usize = 64;

/// The longest template, in bytes.
const MAX_TEMPLATE: usize = 8 * 1024;

/// The keys of a Secret whose resource has no template.
const DEFAULT_KEYS: [&str; 4] = ["access_token", "token_type", "issued_at", "expires_at"];

/// What one template may cost: an instruction costs one, as do 64 bytes of text that is read or made. Enough for
/// 2 MiB of text, twice what a Secret holds.
const FUEL: u64 = 32 * 1024;

/// The longest part of a message that MiniJinja wrote, in characters.
const MAX_DETAIL: usize = 200;

/// What a template may name.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    /// `access_token`.
    pub access_token: &'a str,
    /// `token_type`, as in `Bearer`.
    pub token_type: &'a str,
    /// `issued_at`, in Unix seconds.
    pub issued_at: i64,
    /// `expires_at`, in Unix seconds.
    pub expires_at: i64,
    /// `region`, by its name in the resource.
    pub region: &'a str,
    /// `api_url`: where consumers of the token send their requests.
    pub api_url: &'a str,
}

/// Key → value of the Secret's data. Values are zeroed when dropped.
pub type Data = BTreeMap<String, Zeroizing<String>>;

/// Why there is no data; never holds a token or rendered text, and is one line long.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// A template is wrong.
    #[error("template of key \"{key}\"{}: {cause}", .line.map(|line| format!(", line {line}")).unwrap_or_default())]
    Invalid {
        /// The key whose template it is.
        key: String,
        /// Where in the template, from 1.
        line: Option<usize>,
        /// What is wrong with it.
        cause: String,
    },
    /// More than Kubernetes accepts in a Secret, 1 MiB. Rendering stops there, so the whole may be larger.
    #[error(
        "the rendered values take at least {bytes} bytes, more than the {MAX_DATA} that a Secret may hold"
    )]
    TooLarge {
        /// How much there was when rendering stopped.
        bytes: usize,
    },
}

/// The keys that the Secret is to have: those of the template, or the default ones where there is none.
pub fn keys(template: Option<&BTreeMap<String, String>>) -> Vec<&str> {
    template.map_or_else(|| DEFAULT_KEYS.to_vec(), |template| template.keys().map(String::as_str).collect())
}

/// The data of the Secret: from the template, or the default keys where there is none.
pub fn render(template: Option<&BTreeMap<String, String>>, inputs: &Inputs<'_>) -> Result<Data, RenderError> {
    match template {
        None => Ok(default_data(inputs)),
        // The engine's own words may hold values, and these are real.
        Some(template) => render_each(template, inputs, kind_of),
    }
}

/// Compiles every template and renders it with stand-in values, so that a mistake is found before an exchange is
/// spent. A template that depends on the region is better checked by [`check_in`].
pub fn check(template: Option<&BTreeMap<String, String>>) -> Result<(), RenderError> {
    check_in(template, "us", "https://api.squadcast.com")
}

/// Like [`check`], with the region and API address that rendering will have.
pub fn check_in(
    template: Option<&BTreeMap<String, String>>,
    region: &str,
    api_url: &str,
) -> Result<(), RenderError> {
    let Some(template) = template else { return Ok(()) };
    let inputs = Inputs {
        // Three parts, for templates that take one out of a token that is a JWT.
        access_token: "stand-in.access.token",
        token_type: "Bearer",
        issued_at: 1_587_240_070,
        expires_at: 1_587_412_870,
        region,
        api_url,
    };
    render_each(template, &inputs, kind_and_detail_of).map(drop)
}

/// The data of a Secret whose resource has no template.
fn default_data(inputs: &Inputs<'_>) -> Data {
    let values = [
        inputs.access_token.to_owned(),
        inputs.token_type.to_owned(),
        inputs.issued_at.to_string(),
        inputs.expires_at.to_string(),
    ];
    let values = values.map(Zeroizing::new);
    DEFAULT_KEYS.into_iter().map(str::to_owned).zip(values).collect()
}

/// Renders each template; `cause_of` words an error of the engine.
fn render_each(
    template: &BTreeMap<String, String>,
    inputs: &Inputs<'_>,
    cause_of: fn(&Error) -> String,
) -> Result<Data, RenderError> {
    let environment = environment();
    let variables = context! {
        access_token => inputs.access_token,
        token_type => inputs.token_type,
        issued_at => inputs.issued_at,
        expires_at => inputs.expires_at,
        region => inputs.region,
        api_url => inputs.api_url,
    };
    let mut data = Data::new();
    let mut used = 0;
    for (index, (key, source)) in template.iter().enumerate() {
        let invalid = |line, cause| RenderError::Invalid { key: key.clone(), line, cause };
        if index >= MAX_TEMPLATES {
            return Err(invalid(None, format!("is one too many: at most {MAX_TEMPLATES} are allowed")));
        }
        if source.len() > MAX_TEMPLATE {
            return Err(invalid(None, format!("is over {MAX_TEMPLATE} bytes: shorten it")));
        }
        syntax::check(source).map_err(|fault| invalid(fault.line, fault.cause))?;
        let mut output = Output::new(MAX_DATA - used);
        let rendered = render_one(&environment, source, &variables, &mut output);
        if let Some(wanted) = output.overflow() {
            return Err(RenderError::TooLarge { bytes: used.saturating_add(wanted) });
        }
        rendered.map_err(|error| invalid(error.line(), cause_of(&error)))?;
        let text = output.into_text();
        used += text.len();
        data.insert(key.clone(), text);
    }
    Ok(data)
}

/// Renders a template that [`syntax::check`] let pass.
fn render_one(
    environment: &Environment<'_>,
    source: &str,
    variables: &Value,
    output: &mut Output,
) -> Result<(), Error> {
    let template = environment.template_from_str(source)?;
    template.render_captured_to(variables.clone(), output).map(drop)
}

/// MiniJinja with everything off that a template has no use for.
fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_syntax(syntax::config());
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_fuel(Some(FUEL));
    // No template that calls something passes the check; this is the second lock.
    for function in ["range", "dict", "debug", "namespace"] {
        environment.remove_global(function);
    }
    filters::add_to(&mut environment);
    environment
}

/// An error without the engine's detail.
fn kind_of(error: &Error) -> String {
    match error.kind() {
        ErrorKind::OutOfFuel => "takes too much work or makes too much text".to_owned(),
        ErrorKind::UndefinedError => {
            "undefined value: looks up an item or attribute that is not there".to_owned()
        }
        kind => kind.to_string(),
    }
}

/// An error with the engine's detail, for errors met before there is a token.
fn kind_and_detail_of(error: &Error) -> String {
    match error.detail() {
        Some(detail) if error.kind() != ErrorKind::OutOfFuel => {
            format!("{}: {}", error.kind(), shorten(detail, MAX_DETAIL))
        }
        _ => kind_of(error),
    }
}

/// The beginning of a text, on one line.
fn shorten(text: &str, most: usize) -> String {
    let clean = |c: char| if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') { ' ' } else { c };
    let mut chars = text.chars().map(clean);
    let mut short: String = chars.by_ref().take(most).collect();
    if chars.next().is_some() {
        short.push('…');
    }
    short
}
