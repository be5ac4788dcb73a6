module git.acme.io/Team/lib

go 1.21
