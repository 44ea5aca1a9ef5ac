/* SPDX-License-Identifier: BSD-2-Clause */
#include "plot/svg.h"

#include <base/utf8.h>

#include <string.h>

/* The colours are those of Okabe and Ito, which people with any kind of colour blindness can tell apart; a second
 * set, for a dark background, is lighter. The last four are dashed as well. */
static const char style[] =
	"text{font-family:system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif;font-size:12px;"
	"fill:#24292f}\n"
	".title{font-size:18px;font-weight:600}.panel{font-size:13px;font-weight:600}\n"
	".small{font-size:11px}.dim{fill:#57606a}.bold{font-weight:600}.num{font-variant-numeric:"
	"tabular-nums}\n"
	".back{fill:#fff}.grid{stroke:#d8dee4;stroke-width:1}.axis{stroke:#8c959f;stroke-width:1}\n"
	".line{fill:none;stroke-width:1.8;stroke-linejoin:round;stroke-linecap:round}\n"
	".band{stroke:none;fill-opacity:.18}.bar{fill:#0072b2}\n"
	".death{stroke:#c1121f;stroke-width:1;stroke-opacity:.7}.deathtext{fill:#c1121f}.marktext{fill:#8c959f}\n"
	".c0{stroke:#0072b2;fill:#0072b2}.c1{stroke:#d55e00;fill:#d55e00}\n"
	".c2{stroke:#009e73;fill:#009e73}.c3{stroke:#b65a93;fill:#b65a93}\n"
	".c4{stroke:#b37b00;fill:#b37b00;stroke-dasharray:7 3}\n"
	".c5{stroke:#3a9bd9;fill:#3a9bd9;stroke-dasharray:7 3}\n"
	".c6{stroke:#7a7200;fill:#7a7200;stroke-dasharray:2 3}\n"
	".c7{stroke:#444;fill:#444;stroke-dasharray:2 3}\n"
	".cx{stroke:#8c959f;fill:#8c959f;stroke-width:1.4}\n"
	"polyline.line{fill:none}\n"
	"@media (prefers-color-scheme:dark){\n"
	"text{fill:#e6edf3}.dim{fill:#9da7b1}.back{fill:#0d1117}.grid{stroke:#2d333b}\n"
	".axis{stroke:#768390}.marktext{fill:#768390}.bar{fill:#56b4e9}\n"
	".death{stroke:#ff6b6b}.deathtext{fill:#ff6b6b}\n"
	".c0{stroke:#56b4e9;fill:#56b4e9}.c1{stroke:#ff8c42;fill:#ff8c42}\n"
	".c2{stroke:#2ec99a;fill:#2ec99a}.c3{stroke:#e0a3c9;fill:#e0a3c9}\n"
	".c4{stroke:#f0b429;fill:#f0b429}.c5{stroke:#9cd3f5;fill:#9cd3f5}\n"
	".c6{stroke:#d8cf3c;fill:#d8cf3c}.c7{stroke:#c9d1d9;fill:#c9d1d9}\n"
	"polyline.line{fill:none}}\n";

void
svg_escape(FILE *file, const char *text, unsigned most)
{
	unsigned n = 0;

	while (*text) {
		const unsigned char *bytes = (const unsigned char *)text;
		size_t length = utf8_length(bytes, strlen(text));
		/* U+FFFE and U+FFFF are no characters of XML. */
		bool is_none = length == 3 && memcmp(text, "\xef\xbf", 2) == 0 && bytes[2] >= 0xbe;

		if (most > 0 && ++n == most && text[length > 0 ? length : 1]) {
			fputs("\xe2\x80\xa6", file);
			return;
		}
		if (length == 0 || *bytes < 0x20 || *bytes == 0x7f || is_none)
			putc('?', file);
		else if (strchr("<>&\"'", *text))
			fprintf(file, "&#%u;", *bytes);
		else
			fwrite(text, 1, length, file);
		text += length > 0 ? length : 1;
	}
}

void
svg_begin(FILE *file, double width, double height, const char *title)
{
	fprintf(file,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
		"viewBox=\"0 0 %.0f %.0f\" role=\"img\">\n<title>",
		width, height, width, height);
	svg_escape(file, title, 0);
	fprintf(file, "</title>\n<style>\n%s</style>\n", style);
	svg_rect(file, 0, 0, width, height, "back");
}

void
svg_end(FILE *file)
{
	fputs("</svg>\n", file);
}

void
svg_text(FILE *file, double x, double y, const char *class, const char *anchor, unsigned most,
	const char *text)
{
	fprintf(file, "<text x=\"%.1f\" y=\"%.1f\" class=\"%s\" text-anchor=\"%s\">", x, y, class,
		anchor);
	svg_escape(file, text, most);
	fputs("</text>\n", file);
}

void
svg_line(FILE *file, double x1, double y1, double x2, double y2, const char *class)
{
	fprintf(file, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" class=\"%s\"/>\n", x1,
		y1, x2, y2, class);
}

void
svg_rect(FILE *file, double x, double y, double width, double height, const char *class)
{
	fprintf(file, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" class=\"%s\"/>\n",
		x, y, width, height, class);
}
