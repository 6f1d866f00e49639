#!/usr/bin/env bash
# Compares the answers of the search example with a plain reading of every file, by another
# program in another language: for each word, the sets of files must be equal.
#
#   examples/search/check.sh FOLDER [WORD | PREFIX*]...
#
# Needs perl. SEARCH is the program to check, INDEX where its index lives.
set -euo pipefail
cd_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
search=${SEARCH:-${CARGO_TARGET_DIR:-$cd_root/target}/release/search}
index=${INDEX:-.search-index}
folder=$(realpath -- "${1:?the folder to search}")
shift
words=("$@")
if [[ ${#words[@]} -eq 0 ]]; then
  words=(the borrow 'borrow*' ownership vec 'vec*' unsafe mutex 'deser*' élan 64 0x 'x86*' zzzyx)
fi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

"$search" --index "$index" "$folder" </dev/null
"$search" --index "$index" --as-is --verify "$folder" </dev/null

find "$folder" -mindepth 1 -name '.*' -prune -o -type f -size -33554433c -print0 |
  perl -0 -Mstrict -Mwarnings -MEncode=decode,FB_CROAK -e '
    binmode STDOUT, ":raw";
    my ($out, @words) = @ARGV;
    @ARGV = ();
    my ($part, %re, %out) = (qr/[\p{Alphabetic}\p{N}]/);
    for my $i (0 .. $#words) {
      my $word = lc decode("UTF-8", $words[$i]);
      my $is_prefix = $word =~ s/\*$//;
      $re{$i} = $is_prefix ? qr/(?<!$part)\Q$word\E/ : qr/(?<!$part)\Q$word\E(?!$part)/;
      open $out{$i}, ">:raw", "$out/$i.plain" or die $!;
    }
    my %entity = (amp => "&", apos => "\x27", copy => "\xa9", gt => ">", hellip => "\x{2026}",
      ldquo => "\x{201c}", lt => "<", mdash => "\x{2014}", nbsp => " ", ndash => "\x{2013}",
      quot => "\"", rdquo => "\x{201d}");
    while (defined(my $path = <STDIN>)) {
      chomp $path;
      open my $file, "<:raw", $path or die "$path: $!";
      my $text = do { local $/; <$file> } // "";
      next if index($text, "\0") >= 0;
      $text = eval { decode("UTF-8", $text, FB_CROAK) };
      next if !defined $text;
      if ($path =~ /\.(?:html|htm|xhtml)$/) {
        my $tag = qr/(?:=\s*"[^"]*"|=\s*\x27[^\x27]*\x27|[^>])*+>/;
        $text =~ s/<!--.*?(?:-->|\z)|<(script|style)(?![A-Za-z0-9])$tag.*?(?=<\/\1|\z)|(<wbr)(?![A-Za-z0-9])$tag|<[A-Za-z\/!?]$tag/$2 ? "" : " "/gsei;
        $text =~ s/&(?:#[xX]([0-9A-Fa-f]+)|#([0-9]+)|([a-z]+));/
          defined $1 ? chr hex $1 : defined $2 ? chr $2 : $entity{$3} \/\/ "&$3;"/ge;
      }
      $text = lc $text;
      for my $i (keys %re) {
        print { $out{$i} } "$path\n" if $text =~ $re{$i};
      }
    }
  ' "$scratch" "${words[@]}"

wrong=0
for i in "${!words[@]}"; do
  "$search" --index "$index" --as-is --list "$folder" "${words[i]}" >"$scratch/$i.search"
  LC_ALL=C sort -o "$scratch/$i.search" "$scratch/$i.search"
  LC_ALL=C sort -o "$scratch/$i.plain" "$scratch/$i.plain"
  if cmp -s "$scratch/$i.search" "$scratch/$i.plain"; then
    printf 'equal      %7d files  %s\n' "$(wc -l <"$scratch/$i.plain")" "${words[i]}"
  else
    printf 'DIFFERENT  %s (< only search, > only the plain reading)\n' "${words[i]}"
    diff "$scratch/$i.search" "$scratch/$i.plain" | grep '^[<>]' | head -5 || true
    wrong=1
  fi
done
exit "$wrong"
