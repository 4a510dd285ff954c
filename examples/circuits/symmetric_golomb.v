// A codeword a clock of exponential Golomb around a median, for 8-bit activations: what `symmetric` is in
// bifocal.hardware.cost. A block's medians and orders come from whoever collected its statistics.
// r = value - median is folded without a gap (0, 1, -1, 2, -2 ... become 0, 1, 2, 3, 4 ...) to n; the code of order k is
// n + 2^k in binary, `length` bits long with zeros in front: 2 * floor(log2(n + 2^k)) + 1 - k.
module symmetric_golomb (
    input  wire       clk,
    input  wire       rst,
    input  wire       valid,
    input  wire [7:0] value,
    input  wire [7:0] median,
    input  wire [2:0] order,
    output reg        code_valid,
    output reg  [9:0] code,
    output reg  [4:0] length
);
    wire        above = value > median;
    wire [7:0]  distance = above ? value - median : median - value;
    wire [8:0]  folded = above ? {distance, 1'b0} - 9'd1 : {distance, 1'b0};
    wire [9:0]  word = {1'b0, folded} + (10'd1 << order);
    reg  [3:0]  top;  // position of the highest one of `word`
    integer     i;
    always @* begin
        top = 4'd0;
        for (i = 1; i < 10; i = i + 1)
            if (word[i]) top = i[3:0];
    end

    always @(posedge clk or posedge rst)
        if (rst) begin
            code_valid <= 1'b0;
            code       <= 10'd0;
            length     <= 5'd0;
        end else begin
            code_valid <= valid;
            code       <= word;
            length     <= {top, 1'b0} + 5'd1 - {2'b0, order};
        end
endmodule
