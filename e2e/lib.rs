//! Nothing is here: the tests are in `tests/e2e`, one program with a file for each topic.
