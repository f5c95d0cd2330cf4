//! The files that `init` writes, as the repository's `config/` folder has them.

/// `portcullis.toml`, every common key with its default in a comment.
pub const PORTCULLIS: &str = include_str!("../../config/portcullis.toml");
/// `routes.toml`, one route for each published operation.
pub const ROUTES: &str = include_str!("../../config/routes.toml");
/// `permission_sets.toml`, the published permission sets.
pub const PERMISSION_SETS: &str = include_str!("../../config/permission_sets.toml");
