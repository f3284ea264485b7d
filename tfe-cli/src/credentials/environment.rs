//! Tokens in the environment: `TF_TOKEN_` and the host's name, written so that it can name a variable.

use tfe_core::secret::Secret;

const PREFIX: &str = "TF_TOKEN_";

/// The host and its token, if the variable is one of these.
///
/// Dots are written as one underscore and dashes as two; dashes may also stand for themselves, which some shells
/// allow (terraform's CLI configuration, "Environment Variable Credentials").
pub(super) fn token(variable: &str, value: &str) -> Option<(String, Secret)> {
    let name = variable.strip_prefix(PREFIX).filter(|name| !name.is_empty())?;
    let host = name.replace("__", "-").replace('_', ".").to_lowercase();
    (!value.is_empty()).then(|| (host, Secret::from(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_variables_are_read_back() {
        for (variable, host) in [
            ("TF_TOKEN_tfe_example_com", "tfe.example.com"),
            ("TF_TOKEN_my__tfe_example_com", "my-tfe.example.com"),
            ("TF_TOKEN_my-tfe_example_com", "my-tfe.example.com"),
            ("TF_TOKEN_xn____caf__dma_example", "xn--caf-dma.example"),
            ("TF_TOKEN_localhost", "localhost"),
        ] {
            assert_eq!(token(variable, "t").map(|(host, _)| host).as_deref(), Some(host), "{variable}");
        }
        assert!(token("TF_TOKEN_", "t").is_none() && token("TF_VAR_a", "t").is_none() && token("TF_TOKEN_a", "").is_none());
    }
}
