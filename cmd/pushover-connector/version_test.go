package main

import (
	"runtime/debug"
	"testing"
)

func TestModuleVersion(t *testing.T) {
	for module, want := range map[string]string{
		"": "dev", "(devel)": "dev", "v1.2.3": "1.2.3",
		"v0.0.0-20261126013040-01e7d9c00000+dirty": "0.0.0-20261126013040-01e7d9c00000+dirty",
	} {
		if got := moduleVersion(&debug.BuildInfo{Main: debug.Module{Version: module}}); got != want {
			t.Errorf("the version of module version %q is %q, want %q", module, got, want)
		}
	}
}
