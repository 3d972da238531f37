"""A package, so that pytest ends the fixtures of the scope `package` with the tests of this folder."""
