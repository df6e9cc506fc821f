import { defineTexts } from "@/i18n/texts";

export const texts = defineTexts({
  close: { en: "Close", ko: "닫기" },
  copied: { en: "Copied", ko: "복사했습니다" },
  copy: { en: "Copy", ko: "복사" },
  not_copied: { en: "Could not copy", ko: "복사하지 못했습니다" },
  retry: { en: "Try again", ko: "다시 시도" },
  loading: { en: "Loading", ko: "불러오는 중" },
  failed: { en: "This could not be loaded", ko: "불러오지 못했습니다" },
  unreachable: { en: "The API does not answer", ko: "API가 응답하지 않습니다" },
  unreachable_hint: {
    en: "Is it running? `agentos status` tells, `agentos up` starts it.",
    ko: "실행 중인지 `agentos status`로 확인하고, `agentos up`으로 시작하세요.",
  },
  page_error: { en: "This part of the page failed", ko: "화면의 이 부분에 오류가 났습니다" },
  page_error_hint: {
    en: "The rest of the page goes on. Nothing was sent or changed by this.",
    ko: "나머지 화면은 계속 동작합니다. 이 오류로 보내거나 바뀐 것은 없습니다.",
  },
  stale: { en: "Shown is what was loaded before.", ko: "이전에 불러온 내용을 보여 줍니다." },
  request_id: { en: "Request id", ko: "요청 ID" },
  show_all: { en: "Show all ({size})", ko: "모두 보기 ({size})" },
  download: { en: "Download", ko: "내려받기" },
  resize: { en: "Resize panes", ko: "패널 크기 조절" },
});
