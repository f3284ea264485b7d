//! Variables of a workspace, and which value wins.

use serde::{Deserialize, Serialize};

use crate::{
    error::Invalid,
    hcl,
    id::Id,
    record,
    record::{Field, Seal},
    secret::Sealed,
    time::Timestamp,
    workspace::Workspace,
};

/// A value that runs of a workspace get.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Variable {
    /// Its id.
    pub id: Id<Variable>,
    /// When it was made.
    pub created_at: Timestamp,
    /// The workspace.
    pub workspace_id: Id<Workspace>,
    /// Its name.
    pub key: String,
    /// The value, sealed by the vault whether it is sensitive or not: one rule is easier to trust than two.
    pub value: Option<Sealed>,
    /// What it is for.
    pub description: Option<String>,
    /// Where the value goes.
    pub category: Category,
    /// Whether the value is an HCL expression.
    pub hcl: bool,
    /// Whether the value is never shown again.
    pub sensitive: bool,
    /// Changes whenever the value or its meaning does.
    pub version_id: String,
}

/// Where the value of a variable goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Category {
    /// An input variable of the configuration.
    Terraform,
    /// An environment variable of the engine.
    Env,
}

/// Longest value in bytes: what a process environment takes with room to spare.
pub const MAX_VALUE_BYTES: usize = 256 * 1024;
/// Longest description.
pub const MAX_DESCRIPTION_LENGTH: usize = 512;

record!(Variable, VARIABLES = "variables", prefix: "var",
    fields: [
        Field::refers("workspace_id", &["workspace_id"], "workspaces"),
        Field::at("key", &["key"]),
        Field::at("category", &["category"]),
    ],
    unique: [&["workspace_id", "category", "key"]],
    indexes: [],
    seals: [Variable::VALUE]);

impl Variable {
    /// Where the value is.
    pub const VALUE: Seal = Seal { path: &["value"], context: "variable:{id}" };

    /// Checks what types cannot say.
    pub fn check(&self, value: &str) -> Result<(), Invalid> {
        match self.category {
            _ if self.key.is_empty() => Err(Invalid::attribute("key", "Key can't be blank")),
            Category::Terraform if !hcl::is_identifier(&self.key) => {
                Err(Invalid::attribute("key", "Key is invalid; it must be an identifier such as region or subnet_ids"))
            }
            Category::Env if !is_environment_name(&self.key) => {
                Err(Invalid::attribute("key", "Key is invalid; it must be letters, numbers and underscores and not begin with a number"))
            }
            _ if value.len() > MAX_VALUE_BYTES => {
                Err(Invalid::attribute("value", format!("Value is too long (maximum is {MAX_VALUE_BYTES} bytes)")))
            }
            Category::Env if value.contains('\n') || value.contains('\0') => {
                Err(Invalid::attribute("value", "Value may not contain newlines; encode it, for example as base64"))
            }
            _ if self.description.as_ref().is_some_and(|text| text.chars().count() > MAX_DESCRIPTION_LENGTH) => {
                Err(Invalid::attribute("description", format!("Description is too long (maximum is {MAX_DESCRIPTION_LENGTH} characters)")))
            }
            _ => Ok(()),
        }
    }
}

/// Merges layers of values, weakest first: a later layer's value wins over an earlier one of the same category and name.
/// Order is by first appearance, so that the same input gives the same environment.
pub fn merge<V>(layers: impl IntoIterator<Item = Vec<(Category, String, V)>>) -> Vec<(Category, String, V)> {
    let mut merged: Vec<(Category, String, V)> = Vec::new();
    for (category, key, value) in layers.into_iter().flatten() {
        match merged.iter_mut().find(|(c, k, _)| (*c, k.as_str()) == (category, key.as_str())) {
            Some(slot) => slot.2 = value,
            None => merged.push((category, key, value)),
        }
    }
    merged
}

fn is_environment_name(key: &str) -> bool {
    !key.starts_with(|c: char| c.is_ascii_digit()) && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_layer_wins_within_its_category_only() {
        let layer = |values: &[(Category, &str, u8)]| values.iter().map(|(c, k, v)| (*c, (*k).to_owned(), *v)).collect::<Vec<_>>();
        let workspace = layer(&[(Category::Terraform, "a", 1), (Category::Env, "a", 2), (Category::Terraform, "b", 3)]);
        let run = layer(&[(Category::Terraform, "a", 9), (Category::Terraform, "c", 8)]);
        let expected =
            layer(&[(Category::Terraform, "a", 9), (Category::Env, "a", 2), (Category::Terraform, "b", 3), (Category::Terraform, "c", 8)]);
        assert_eq!(merge([workspace, run]), expected);
    }
}
