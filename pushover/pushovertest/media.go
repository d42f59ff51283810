package pushovertest

import (
	"bytes"
	"encoding/binary"
	"hash/fnv"
	"image"
	"image/color"
	"image/png"
	"net/http"
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

// soundCode turns a sender's name into the delivered code. Other names pass.
func soundCode(name string) string {
	for _, s := range soundTable() {
		if s.name == name {
			return s.code
		}
	}
	return name
}

func knownSound(nameOrCode string) bool {
	for _, s := range soundTable() {
		if s.name == nameOrCode || s.code == nameOrCode {
			return true
		}
	}
	return false
}

// listSounds is GET sounds.json, for senders [api].
func (s *Server) listSounds(c *call) reply {
	if s.apps[c.params.Get("token")] == nil {
		return s.refuse(http.StatusBadRequest, "token", "is invalid")
	}
	all := map[string]string{}
	for _, one := range soundTable() {
		all[one.name] = one.title
	}
	return s.success(map[string]any{"sounds": all})
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
	img := image.NewNRGBA(image.Rect(0, 0, 16, 16))
	for y := range 16 {
		for x := range 16 {
			img.SetNRGBA(x, y, fill)
		}
	}
	var out bytes.Buffer
	if err := png.Encode(&out, img); err != nil {
		return notFound()
	}
	return reply{
		status: http.StatusOK, kind: "image/png", body: out.Bytes(),
		header: map[string]string{"Cache-Control": "public, max-age=31536000"},
	}
}

// sound is GET /sounds/<sound>.mp3 or .wav: a moment of silence.
func (s *Server) sound(c *call) reply {
	if name, ok := strings.CutSuffix(c.arg, ".mp3"); ok && knownSound(name) {
		// One frame of MPEG 1 layer III, 128 kbit/s at 44.1 kHz, all bits zero.
		frame := make([]byte, 417)
		copy(frame, []byte{0xff, 0xfb, 0x90, 0x00})
		return reply{status: http.StatusOK, kind: "audio/mpeg", body: frame}
	}
	if name, ok := strings.CutSuffix(c.arg, ".wav"); ok && knownSound(name) {
		return reply{status: http.StatusOK, kind: "audio/wav", body: silentWave(800)}
	}
	return notFound()
}

// silentWave is a WAV file of so many 8-bit samples at 8 kHz.
func silentWave(samples uint32) []byte {
	le := binary.LittleEndian
	out := append([]byte("RIFF"), le.AppendUint32(nil, 36+samples)...)
	out = append(out, "WAVEfmt "...)
	out = le.AppendUint32(out, 16)
	for _, v := range []uint16{1, 1} { // PCM, mono
		out = le.AppendUint16(out, v)
	}
	out = le.AppendUint32(out, 8000)
	out = le.AppendUint32(out, 8000)
	for _, v := range []uint16{1, 8} { // block, bits
		out = le.AppendUint16(out, v)
	}
	out = le.AppendUint32(append(out, "data"...), samples)
	return append(out, bytes.Repeat([]byte{0x80}, int(samples))...)
}
