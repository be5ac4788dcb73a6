module git.acme.io/old
