//! A command line that makes no sense: one line that names the flag, and the variable where that gave the value,
//! what is wrong and what to do. Pure.

use std::ffi::{OsStr, OsString};

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Bad usage.
#[derive(Debug, thiserror::Error)]
#[error("{}{problem}", flag.as_ref().map(|flag| format!("{flag}: ")).unwrap_or_default())]
pub(crate) struct Usage {
    /// The flag that it is about, if one.
    flag: Option<String>,
    problem: String,
}

impl Usage {
    /// What is wrong with this flag, and what to do.
    pub(super) fn of(flag: &str, problem: impl Into<String>) -> Self {
        Self { flag: Some(flag.to_owned()), problem: problem.into() }
    }

    fn general(problem: impl Into<String>) -> Self {
        Self { flag: None, problem: problem.into() }
    }

    /// Names the variable beside the flag where the value came from there: the flag is not among the arguments,
    /// and `variable` is set.
    pub(super) fn naming_variables(
        mut self,
        arguments: &[OsString],
        is_set: impl FnOnce(&str) -> bool,
    ) -> Self {
        if let Some(flag) = &mut self.flag {
            let given = |argument: &OsString| {
                let bytes = argument.as_encoded_bytes();
                bytes.strip_prefix(flag.as_bytes()).is_some_and(|rest| rest.is_empty() || rest[0] == b'=')
            };
            let variable = variable(flag);
            if !arguments.iter().any(given) && is_set(&variable) {
                *flag = format!("{flag} ({variable})");
            }
        }
        self
    }
}

/// The environment variable of a flag.
pub(super) fn variable(flag: &str) -> String {
    format!("SQUADCAST_OPERATOR_{}", flag.trim_start_matches('-').to_uppercase().replace('-', "_"))
}

/// Set to something: an empty variable counts as one that is not set.
pub(super) fn is_set(variable: &OsStr) -> bool {
    std::env::var_os(variable).is_some_and(|value| !value.is_empty())
}

impl From<&clap::Error> for Usage {
    fn from(error: &clap::Error) -> Self {
        let text = |kind| match error.get(kind) {
            Some(ContextValue::String(text)) => Some(text.as_str()),
            Some(ContextValue::Strings(texts)) => texts.first().map(String::as_str),
            _ => None,
        };
        // As clap has it, its value's name follows.
        let flag = text(ContextKind::InvalidArg).and_then(|flag| flag.split([' ', '=']).next());
        let (Some(flag), kind) = (flag, error.kind()) else {
            return Self::general(match error.kind() {
                // It is not repeated: it may be a value whose command was forgotten.
                ErrorKind::InvalidSubcommand => {
                    "there is no such command; write run, crd or check; see --help"
                }
                _ => "say what to do: run, crd or check; see --help",
            });
        };
        let value = text(ContextKind::InvalidValue).unwrap_or_default();
        match kind {
            // Where a flag's name was forgotten, its value stands alone: it may be a token, or a URL with a
            // password.
            ErrorKind::UnknownArgument if !flag.starts_with('-') => Self::general(
                "unexpected argument, not shown here: write the flag that it is for before it; see --help",
            ),
            ErrorKind::UnknownArgument => Self::of(
                flag,
                match text(ContextKind::SuggestedArg) {
                    Some(other) => format!("there is no such flag; did you mean {other}?"),
                    None => "there is no such flag; see --help".to_owned(),
                },
            ),
            ErrorKind::MissingRequiredArgument => Self::of(flag, "it is missing; see --help"),
            ErrorKind::ArgumentConflict => Self::of(flag, "it is given more than once; give it once"),
            ErrorKind::TooManyValues => {
                Self::of(flag, format!("it takes no value; write {flag} alone, or leave it out"))
            }
            ErrorKind::InvalidValue if value.is_empty() => Self::of(flag, "its value is missing; see --help"),
            ErrorKind::InvalidValue => {
                let values = match error.get(ContextKind::ValidValue) {
                    Some(ContextValue::Strings(values)) => values.join(" or "),
                    _ => "another value".to_owned(),
                };
                Self::of(flag, format!("\"{value}\" is not a valid value; write {values}"))
            }
            _ => {
                let cause = std::error::Error::source(error).map(ToString::to_string);
                Self::of(flag, cause.unwrap_or_else(|| format!("it makes no sense ({kind}); see --help")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_that_names_no_command_is_told_so() {
        for (arguments, told) in [
            (&["squadcast-operator"][..], "say what to do: run, crd or check; see --help"),
            (
                &["squadcast-operator", "chek"][..],
                "there is no such command; write run, crd or check; see --help",
            ),
        ] {
            let error = crate::cli::command().try_get_matches_from(arguments).unwrap_err();
            assert_eq!(Usage::from(&error).to_string(), told);
        }
    }

    #[test]
    fn a_variable_is_named_where_it_gave_the_value() {
        let told = |arguments: &[&str], set: bool| {
            let arguments: Vec<_> = arguments.iter().map(OsString::from).collect();
            let usage = Usage::of("--ca-file", "it is empty").naming_variables(&arguments, |name| {
                assert_eq!(name, "SQUADCAST_OPERATOR_CA_FILE");
                set
            });
            usage.to_string()
        };
        assert_eq!(told(&["run"], true), "--ca-file (SQUADCAST_OPERATOR_CA_FILE): it is empty");
        assert_eq!(told(&["run", "--ca-files"], true), "--ca-file (SQUADCAST_OPERATOR_CA_FILE): it is empty");
        assert_eq!(told(&["run"], false), "--ca-file: it is empty");
        assert_eq!(told(&["run", "--ca-file", "x"], true), "--ca-file: it is empty");
        assert_eq!(told(&["run", "--ca-file=x"], true), "--ca-file: it is empty");
    }
}
