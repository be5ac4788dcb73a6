//! Numbers of repositories. Each says which project the repository is in, so that it is found by
//! its number alone; and is small enough for clients that keep numbers as floating point.

use crate::http::error::{ApiError, ErrorKind};

/// How many low bits count the repositories of one project.
const BITS: u32 = 20;

/// What floating point still tells apart.
const MAX: u64 = (1 << 53) - 1;

/// The number of the `nth` repository, from 1, that a project ever had.
pub(super) fn of(project: u64, nth: u64) -> Result<u64, ApiError> {
    let is_room = nth < 1 << BITS && project <= MAX >> BITS;
    match is_room {
        true => Ok(project << BITS | nth),
        false => Err(ApiError::new(
            ErrorKind::Forbidden,
            format!(
                "a project can be given {} repositories in its life",
                (1 << BITS) - 1
            ),
        )),
    }
}

/// The project that a repository of this number is in, if there is one.
pub(super) fn project_of(number: u64) -> u64 {
    number >> BITS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_tells_its_project_and_no_two_are_the_same() {
        for project in [1, 2, 77, MAX >> BITS] {
            for nth in [1, 2, (1 << BITS) - 1] {
                let number = of(project, nth).unwrap();
                assert_eq!(project_of(number), project);
                assert!(number <= MAX, "{number}");
            }
        }
        assert_ne!(of(1, (1 << BITS) - 1).unwrap() + 1, of(2, 1).unwrap());
        assert!(of(1, 1 << BITS).is_err());
        assert!(of((MAX >> BITS) + 1, 1).is_err());
    }
}
