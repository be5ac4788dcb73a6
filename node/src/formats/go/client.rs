//! The real client's stories.
