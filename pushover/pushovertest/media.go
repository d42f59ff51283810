package pushovertest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"image"
	"image/color"
	"image/png"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// A sound has a sender's name and, on delivery, a code of two letters. Wire
// reference 3.3.
type sound struct{ name, code, title string }

func soundTable() []sound {
	return []sound{
		{"pushover", "po", "Pushover (default)"}, {"bike", "bk", "Bike"}, {"bugle", "bu", "Bugle"},
		{"cashregister", "ch", "Cash Register"}, {"classical", "cl", "Classical"}, {"cosmic", "co", "Cosmic"},
		{"falling", "fa", "Falling"}, {"gamelan", "gl", "Gamelan"}, {"incoming", "ic", "Incoming"},
		{"intermission", "im", "Intermission"}, {"magic", "ma", "Magic"}, {"mechanical", "mc", "Mechanical"},
		{"pianobar", "pn", "Piano Bar"}, {"siren", "si", "Siren"}, {"spacealarm", "sp", "Space Alarm"},
		{"tugboat", "tg", "Tug Boat"}, {"alien", "ln", "Alien Alarm (long)"}, {"climb", "mb", "Climb (long)"},
		{"persistent", "ps", "Persistent (long)"}, {"echo", "ec", "Pushover Echo (long)"},
		{"updown", "ud", "Up Down (long)"}, {"vibrate", "vb", "Vibrate Only"}, {"none", "no", "None (silent)"},
	}
}

// AddSound adds a sound that the first account's owner has uploaded: the name
// senders use, and a title. It heads the list of sounds, and downloads carry the
// codes and names of all that were added. What code the real service delivers for
// one is not known: here it is "c" and a number.
func (s *Server) AddSound(name, title string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sounds = append(s.sounds, sound{name, "c" + strconv.Itoa(len(s.sounds)+1), title})
}

// sound finds a sound by a sender's name or by its code.
func (s *Server) sound(name string) sound {
	for _, one := range slices.Concat(s.sounds, soundTable()) {
		if name != "" && (one.name == name || one.code == name) {
			return one
		}
	}
	return sound{}
}

// listSounds is GET sounds.json, for senders.
func (s *Server) listSounds(c *call) reply {
	if s.apps[c.params.Get("token")] == nil {
		return s.refuse(http.StatusBadRequest, "token", "is invalid")
	}
	var list []byte // in order, which a map has not
	for _, one := range slices.Concat(s.sounds, soundTable()) {
		list = fmt.Appendf(list, `,%s:%s`, encodeJSON(one.name), encodeJSON(one.title))
	}
	return s.success(map[string]any{"sounds": json.RawMessage("{" + string(list[1:]) + "}")})
}

// icon is GET /icons/<icon>.png: a small picture in a colour of its own for
// every icon name that some application has.
func (s *Server) icon(c *call) reply {
	name, ok := strings.CutSuffix(c.arg, ".png")
	if !ok || !s.icons[name] {
		return notFound()
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(name)) // never fails
	sum := h.Sum32()
	fill := color.NRGBA{R: byte(sum), G: byte(sum >> 8), B: byte(sum >> 16), A: 255}
	img := image.NewPaletted(image.Rect(0, 0, 16, 16), color.Palette{fill})
	var out bytes.Buffer
	if err := png.Encode(&out, img); err != nil {
		return notFound()
	}
	return reply{
		status: http.StatusOK, kind: "image/png", body: out.Bytes(),
		header: map[string]string{"Cache-Control": "public, max-age=31536000"},
	}
}

// soundFile is GET /sounds/<sound>.mp3 or .wav: a moment of silence.
func (s *Server) soundFile(c *call) reply {
	if name, ok := strings.CutSuffix(c.arg, ".mp3"); ok && s.sound(name) != (sound{}) {
		// One frame of MPEG 1 layer III, 128 kbit/s at 44.1 kHz, all bits zero.
		frame := make([]byte, 417)
		copy(frame, []byte{0xff, 0xfb, 0x90, 0x00})
		return reply{status: http.StatusOK, kind: "audio/mpeg", body: frame}
	}
	if name, ok := strings.CutSuffix(c.arg, ".wav"); ok && s.sound(name) != (sound{}) {
		return reply{status: http.StatusOK, kind: "audio/wav", body: []byte(silentWave)}
	}
	return notFound()
}

// silentWave is a WAV file without samples: 8 bits, mono, 8 kHz.
const silentWave = "RIFF\x24\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00" +
	"\x40\x1f\x00\x00\x40\x1f\x00\x00\x01\x00\x08\x00data\x00\x00\x00\x00"
