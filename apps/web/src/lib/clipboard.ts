/** Copying, also where the page has no right to the clipboard. */

export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "fixed -left-full";
    document.body.append(area);
    area.select();
    // The way of pages that are not served by https.
    const copied = document.execCommand("copy");
    area.remove();
    return copied;
  }
}
