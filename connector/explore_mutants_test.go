package connector_test

import (
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var mutants = flag.Bool("explore-mutants", false, "break the connector in known ways, and require that the explorer notices")

// Each mutant replaces the only occurrence of a piece of the code.
var mutations = []struct{ name, file, old, new string }{
	{
		"clear before it is confirmed", "deliver.go",
		"confirmed, err := d.publish(work, events)",
		"_ = d.client.DeleteThrough(work, min(settled, messages[len(messages)-1].ID))\n\t\tconfirmed, err := d.publish(work, events)",
	},
	{
		"take a partial confirmation for a whole one", "deliver.go",
		"		if confirmed > 0 {\n			d.c.m.oldestWaiting",
		"		if confirmed > 0 {\n			confirmed = len(events)\n			d.c.m.oldestWaiting",
	},
	{
		"take a lost confirmation for one", "deliver.go",
		"		if confirmed > 0 {\n			d.c.m.oldestWaiting",
		"		if err != nil && !errors.Is(err, ErrRejected) && !errors.Is(err, ErrFenced) {\n			confirmed, err = len(events), nil\n		}\n		if confirmed > 0 {\n			d.c.m.oldestWaiting",
	},
	{
		"clear the last id of the batch, settled or not", "clear.go",
		"d.held.settle(min(settled, messages[len(messages)-1].ID))",
		"d.held.settle(messages[len(messages)-1].ID)",
	},
	{
		"drop the second download", "deliver.go",
		"		d.held.settle(batch.Settled)\n",
		"		d.held.settle(batch.Last())\n",
	},
	{
		"forget the settle time", "../pushover/settled.go",
		"settleTime = 4 * time.Second", "settleTime = time.Millisecond",
	},
	{
		"go on when fenced", "deliver.go",
		"errors.Is(err, pushover.ErrSessionRejected) || errors.Is(err, ErrFenced)",
		"errors.Is(err, pushover.ErrSessionRejected)",
	},
	{
		"count a refused event as confirmed without a dead letter", "deliver.go",
		"				events[0] = letter\n				continue",
		"				_ = letter\n				if err := d.confirmed(ctx, work, messages[:1], events[:1], settled); err != nil {\n					return err\n				}\n				events, messages, places = events[1:], messages[1:], places[1:]\n				continue",
	},
	{
		"take a held message for delivered by its place, not its id", "clear.go",
		"		if !q.has(m.ID) {", "		if m.ID > q.entries[len(q.entries)-1].id {",
	},
	{
		"publish the newest first", "deliver.go",
		"d.encodeAhead(newReception(d.device, batch, time.Now()), messages)",
		"d.encodeAhead(newReception(d.device, batch, time.Now()), reversed(messages))",
	},
	{
		"trust memory instead of the log after the delay", "clear.go",
		"n, err := d.c.sink.(Verifier).Holds(check, events[i:])", "n, err := len(events)-i, check.Err()",
	},
	{
		"clear without the delay", "clear.go",
		"	if d.c.o.ClearDelay > 0 {\n		return nil // clearDue does it\n	}\n",
		"	if d.c.o.ClearDelay > 0 {\n		d.held.postpone(time.Now())\n	}\n",
	},
	{
		"clear what was missing once", "clear.go",
		"		case !d.lost[d.held.entries[i].id]:", "		case false:",
	},
	{
		"give up what was never missing itself", "clear.go",
		"d.lost[h.id] = d.lost[h.id] || slices.Contains(missing, h.id)", "d.lost[h.id] = true",
	},
	{
		"publish a lost event as an ordinary one", "deliver.go",
		"_, events[i].Lost = d.lost[m.ID]", "_, _ = i, m",
	},
	{
		"believe a deletion", "clear.go",
		"removed := d.removed\n", "removed := clearQueue{}\n",
	},
	{
		"settle a command without its result", "commander.go",
		"return result, c.commands.retry(cmd, false, fmt.Errorf(\"%s, but the result is not published: %w\", result.Status, err))",
		"_ = fmt.Sprint()",
	},
	{
		"decide a command again", "commander.go",
		"		k.keep(cmd, result)\n", "",
	},
	{
		"say acknowledged without the call", "commander.go",
		"if err := client.Acknowledge(call, receipt); err != nil {", "if err := call.Err(); err != nil {",
	},
	{
		"reject a command that met trouble", "commander.go",
		"		return Result{}, k.retry(cmd, called, err)\n	}\n}", "		return result.end(StatusRejected, err.Error()), nil\n	}\n}",
	},
	{
		"give every delivery of a command a result of its own", "commander.go",
		"numberAt(cmd.ID, cmd.Time),", "numberAt(cmd.ID, r.CompletedAt),",
	},
	{
		"forget that an emergency came before", "emergencies.go",
		"repeatOf, e.MessageID = known.MessageID, known.MessageID", "e.MessageID = known.MessageID",
	},
	{
		"do not recall emergencies at the start", "emergencies.go",
		"		c.recall(e, source, began)\n", "		_, _ = source, began\n",
	},
	{
		"leave an acknowledged emergency outstanding", "emergencies.go",
		"	e.over = true\n", "",
	},
}

// TestExplorerKillsMutants breaks the connector in one way at a time, by an overlay
// of the build, and lets the explorer run until it notices.
func TestExplorerKillsMutants(t *testing.T) {
	if testing.Short() || !*mutants {
		t.Skip("takes minutes: -explore-mutants")
	}
	killed := 0
	for _, m := range mutations {
		source, err := os.ReadFile(m.file)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(source), m.old); n != 1 {
			t.Errorf("%s: %d places in %s, want 1", m.name, n, m.file)
			continue
		}
		broken := strings.Replace(string(source), m.old, m.new, 1)
		if strings.Contains(m.new, "reversed(") {
			broken += "\nfunc reversed(m []pushover.Message) (r []pushover.Message) {\n\tfor i := range m {\n\t\tr = append(r, m[len(m)-1-i])\n\t}\n\treturn r\n}\n"
		}
		out, err := exploreBroken(t, m.file, broken)
		switch {
		case err == nil:
			t.Errorf("%s: survives\n%s", m.name, out)
		case !strings.Contains(out, "VIOLATION"):
			t.Errorf("%s: %v\n%s", m.name, err, out)
		default:
			killed++
			_, why, _ := strings.Cut(out, "VIOLATION: ")
			why, _, _ = strings.Cut(why, "\n")
			t.Logf("%s: %.120s", m.name, why)
		}
	}
	t.Logf("%d of %d mutants killed", killed, len(mutations))
}

// exploreBroken runs the explorer on the code with one file replaced.
func exploreBroken(t *testing.T, file, source string) (string, error) {
	t.Helper()
	dir := t.TempDir()
	original, err := filepath.Abs(file)
	if err != nil {
		t.Fatal(err)
	}
	replaced, overlay := filepath.Join(dir, "broken.go"), filepath.Join(dir, "overlay.json")
	list, err := json.Marshal(map[string]map[string]string{"Replace": {original: replaced}})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{replaced: source, overlay: string(list)} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := exec.CommandContext(t.Context(), "go", "test", "-vet=off", "-overlay", overlay, "-count=1", "-failfast",
		"-run", "^TestEverySchedule$", ".", "-explore-depth=0", "-explore-random=3000") //nolint:gosec // our own arguments
	out, err := run.CombinedOutput()
	return string(out), err
}
