//! Each mistake a user can make is one error, at the word that is wrong, in the user's terms. `TRYBUILD=overwrite` writes
//! the `.stderr` files anew; read them before they are committed.
//!
//! Here and not beside the engine's tests: trybuild compiles whatever a crate's tests depend on once more.

#[test]
fn every_mistake_is_one_error_at_the_word_that_is_wrong() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*.rs");
}

/// What trybuild cannot say: one error each.
#[test]
fn no_mistake_is_reported_twice() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ui");
    let mut read = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "stderr")
        {
            let text = std::fs::read_to_string(&path).unwrap();
            let errors = text
                .lines()
                .filter(|line| line.starts_with("error"))
                .count();
            assert_eq!(errors, 1, "{}", path.display());
            read += 1;
        }
    }
    assert!(read > 30, "only {read} files");
}
