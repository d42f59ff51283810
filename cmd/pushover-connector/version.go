package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
)

// version and revision are set by the linker for a release. Any other build has
// them in its build information.
var (
	version  = unversioned
	revision string
)

// unversioned is the version of a build that does not know any.
const unversioned = "dev"

func init() {
	if info, ok := debug.ReadBuildInfo(); ok && version == unversioned {
		version = moduleVersion(info)
	}
}

// moduleVersion is the version that "go install" was asked for, or that a build
// in a checkout derives from its tags. Like that of a release it has no "v".
func moduleVersion(info *debug.BuildInfo) string {
	v := strings.TrimPrefix(info.Main.Version, "v")
	if v == "(devel)" {
		v = ""
	}
	return cmp.Or(v, unversioned)
}

// commit is the revision the program was built from, as far as the build knows.
func commit() string {
	if revision != "" {
		return revision[:min(12, len(revision))]
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	revision, modified := "unknown", ""
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			revision = s.Value[:min(12, len(s.Value))]
		case "vcs.modified":
			if s.Value == "true" {
				modified = "+changes"
			}
		}
	}
	return revision + modified
}

// userAgent names the program to Pushover, which asks for it.
func userAgent() string {
	return "pushover-connector/" + version + " (+https://github.com/pushover-connector/pushover-connector)"
}

func versionCommand() command {
	return command{
		name: "version", summary: "Print version, commit and Go version",
		prepare: func(*flag.FlagSet) func(context.Context, streams, []string) error {
			return func(_ context.Context, s streams, args []string) error {
				if err := noArguments(args); err != nil {
					return err
				}
				fmt.Fprintf(s.out, "pushover-connector %s (commit %s, %s, %s/%s)\n",
					version, commit(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
				return nil
			}
		},
	}
}
